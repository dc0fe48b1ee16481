"""Draw what a trained network's answer in a model's worst case depends on: MONAI's occlusion sensitivity per region.

``python research/saliency.py STUDY MODEL`` takes the case of lowest Dice, and of it the slice with most tumour. It
writes ``runs/STUDY/figures/saliency_MODEL.png``, which stays on this machine. A square of ``SIDE`` pixels of every
modality is set to 0, the mean of a brain's voxels, at one place after another. The picture shows by how much that
lowers the mean probability of the reference's voxels in a region (red) or raises it (blue).

GradCAM of the deepest layer, which is usual for classifiers, pointed beside tumours that were segmented well: a U-Net's
skips go past that layer.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.visualize import OcclusionSensitivity

from benchmark.base import project
from benchmark.data.prepare import PreparedCase, case_key, store_folder
from benchmark.report.figures import new_figure, save
from benchmark.results.results import Results
from benchmark.studies import store, study
from benchmark.training.handlers import load

SIDE = 12


class Mean(torch.nn.Module):
    """Mean probability of a network's regions (N, regions) over ``masks`` (regions, height, width)."""

    def __init__(self, network: torch.nn.Module, masks: torch.Tensor) -> None:
        super().__init__()
        self.network, self.masks = network, masks

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        probability = torch.sigmoid(self.network(image)) * self.masks
        return probability.sum(dim=(2, 3)) / self.masks.sum(dim=(1, 2)).clamp(min=1)


def worst(results: Results, model: str) -> tuple[PreparedCase, torch.nn.Module]:
    """The case of lowest Dice, and the network of the first seed that was tested on it."""
    dice = results.rows(model).query("metric == 'dice'").groupby("case_id")["value"].mean()
    case_id = dice.idxmin()
    runs = [run for run in results.done if run.model == model]
    run = next(run for run in runs if (store.folder(run) / "predictions" / f"{case_id}.nii.gz").exists())
    case = next(case for case in results.cases.cases if case.case_id == case_id)
    parser = ConfigParser()
    parser.read_config(str(store.folder(run) / "configs" / "inference.json"))
    parser["device"] = "$torch.device('cpu')"
    network = parser.get_parsed_content("network").eval()
    network.load_state_dict(load(store.folder(run) / "models" / "model.pt"))
    return PreparedCase(case, store_folder() / case_key(case, results.manifest.modalities)), network


def main(name: str, model: str) -> Path:
    """Draw a model's worst case and return the picture's path."""
    results = Results(study.load(name))
    case, network = worst(results, model)
    regions, z = results.manifest.regions, int((case.label > 0).sum(axis=(1, 2)).argmax())
    height, width = case.label.shape[1:]
    # Sizes that the networks here can halve five times.
    canvas = (32 * -(-height // 32), 32 * -(-width // 32))
    image = np.zeros((1, len(results.manifest.modalities), *canvas), np.float32)
    image[0, :, :height, :width] = case.image[z]
    masks = np.zeros((len(regions), *canvas), np.float32)
    masks[:, :height, :width] = [np.isin(case.label[z], list(values)) for values in regions.values()]
    probability = Mean(network, torch.from_numpy(masks))
    occlude = OcclusionSensitivity(probability, SIDE, mode=0.0, overlap=0.75, activate=False, verbose=False)
    with torch.no_grad():
        before, after = probability(torch.from_numpy(image))[0], occlude(torch.from_numpy(image))[0][0]
    drop = (before[:, None, None] - after)[:, :height, :width].numpy()
    figure, axes = new_figure(2.4 * len(regions), 2.9, 1, len(regions))
    for axis, region, lost, mask, whole in zip(axes[0], regions, drop, masks[:, :height, :width], before, strict=True):
        axis.imshow(np.rot90(image[0, -1, :height, :width][::-1]), cmap="gray")
        limit = max(float(np.abs(lost).max()), 1e-6)
        axis.imshow(np.rot90(lost[::-1]), cmap="RdBu_r", alpha=0.5, vmin=-limit, vmax=limit)
        axis.contour(np.rot90(mask[::-1]), [0.5], colors="white", linewidths=0.8)
        axis.set(xticks=[], yticks=[])
        axis.set_title(f"{region}: {whole:.2f}, colours to ± {limit:.2f}", fontsize=7)
    figure.suptitle(f"{model}, {case.case.case_id}: occlusion sensitivity; white: the reference", fontsize=8)
    return save(figure, project.runs() / name / "figures" / f"saliency_{model.replace('/', '_')}.png")


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
