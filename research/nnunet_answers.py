"""Write what nnU-Net itself computes for small inputs, which our tests compare our recipe of it with.

Run it where nnunetv2 2.8.1 is installed, which this project does not depend on:
``python research/nnunet_answers.py tests/training/nnunet_2.8.1.json``.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.spatial import spatial
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

PATCH, CANVAS = (10, 14), (18, 18)


def augmentation() -> dict[str, Any]:
    """Every transform of the default trainer but noise and mirroring, with chosen numbers, on one canvas."""
    rows, columns = np.mgrid[:18, :18].astype(np.float32)
    brain = ((rows - 8) / 7.5) ** 2 + ((columns - 9) / 6.5) ** 2 < 1
    waves = [np.sin(rows * 0.7 + columns * 0.3 + channel) + 0.1 * columns for channel in range(2)]
    image = torch.from_numpy((np.stack(waves) * brain).round(3).astype(np.float32))
    tumour = np.hypot(rows - 7, columns - 7)
    label = np.select([~brain, tumour < 2, tumour < 3, tumour < 4.5], [-1, 3, 1, 2], 0).astype(np.int16)
    chain = nnUNetTrainer.get_training_transforms(
        PATCH, (-np.pi, np.pi), None, (0, 1), False, [True, True], foreground_labels=[1, 2, 3]
    ).transforms
    blur, brightness, contrast, resolution, inverted, gamma = (chain[place].transform for place in range(2, 8))
    blur.benchmark = False
    grid = (
        chain[0]._get_base_grid_clone() @ torch.from_numpy(spatial.create_affine_matrix_2d(0.5, [1.2, 1.2]).T).float()
    )
    grid = spatial._convert_my_grid_to_grid_sample_grid(grid, CANVAS)
    both, factors, exponents = torch.arange(2), torch.tensor([0.8, 1.15]), torch.tensor([0.75, 1.3])
    yes = torch.ones(2, dtype=torch.bool)
    labels = chain[0]._apply_to_segmentation(torch.from_numpy(label)[None].clone(), grid=grid)
    x = chain[0]._apply_to_image(image.clone(), grid=grid)
    steps = {"spatial": x.clone()}
    x = blur._apply_to_image(x, apply_to_channel=yes, sigmas=[[0.6, 0.9], [0.8, 0.55]])
    steps["blur"] = x.clone()
    x = brightness._apply_to_image(x, apply_to_channel=both, multipliers=factors)
    x = contrast._apply_to_image(x, apply_to_channel=both, multipliers=factors.flip(0))
    steps["contrast"] = x.clone()
    x = resolution._apply_to_image(x, apply_to_channel=both, scales=torch.tensor([[0.6, 0.6], [0.87, 0.87]]))
    steps["resolution"] = x.clone()
    options = {"apply_to_channel": both, "retain_stats": yes}
    x = inverted._apply_to_image(x, **options, invert_image=yes, gamma=exponents)
    x = gamma._apply_to_image(x, **options, invert_image=~yes, gamma=exponents.flip(0))
    masked = chain[9](image=x, segmentation=labels)["image"]
    inside = {"image": image, "label": torch.from_numpy(label).clamp(min=0)}
    return {**inside, **steps, "masked": masked, "labels": labels[0].clamp(min=0)}


def network_and_loss() -> dict[str, Any]:
    """Logits of a small network with chosen weights, and the loss at every resolution for them."""
    network = PlainConvUNet(
        2, 4, (4, 8, 16, 16), torch.nn.Conv2d, 3, (1, 2, 2, 2), 2, 3, 2, True, torch.nn.InstanceNorm2d,
        {"eps": 1e-5, "affine": True}, None, None, torch.nn.LeakyReLU, {"inplace": True}, deep_supervision=True,
    )  # fmt: skip
    network.apply(network.initialize)
    encoder = [block for stage in network.encoder.stages for part in stage for block in part.convs]
    decoder = [block for stage in network.decoder.stages for block in stage.convs]
    heads = network.decoder.seg_layers
    modules = [block.conv for block in encoder + decoder] + list(network.decoder.transpconvs) + list(heads)[1:]
    with torch.no_grad():
        for number, module in enumerate(modules):
            module.weight.copy_(weights(number, module.weight))
    image = weights(99, torch.empty(2, 2, 16, 16)) * 8
    masks = (weights(77, torch.empty(2, 3, 16, 16)) > 0).float()
    logits = network(image)
    scales = [[1.0, 1.0], [0.5, 0.5], [0.25, 0.25]]
    shrunk = [DownsampleSegForDSTransform(scales)._apply_to_segmentation(one) for one in masks]
    target = [torch.stack(stage) for stage in zip(*shrunk, strict=True)]
    dice = {"batch_dice": True, "do_bg": True, "smooth": 1e-5, "ddp": False}
    loss = DeepSupervisionWrapper(DC_and_BCE_loss({}, dice), (2 / 3, 1 / 3, 0.0))(logits, target)
    return {"logits": logits[0][:, :, 5], "coarse": logits[1][:, :, 3], "loss": float(loss)}


def weights(number: int, like: torch.Tensor) -> torch.Tensor:
    """Numbers that look random and are the same everywhere."""
    place = torch.arange(like.numel(), dtype=torch.float64)
    return (torch.sin(place * 12.9898 + number * 78.233) / 4).float().view(like.shape)


def windows() -> torch.Tensor:
    """Mirrored and averaged logits of slices whose sides miss an odd number of pixels of the patch."""
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3, stride=2, padding=1), torch.nn.Upsample(scale_factor=2))
    with torch.no_grad():
        network[0].weight.copy_(weights(3, network[0].weight) * 8)
        network[0].bias.fill_(0.25)
    predictor = nnUNetPredictor(perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False)

    class Settings:
        patch_size = (8, 12)

    class Labels:
        num_segmentation_heads = 1

    predictor.network, predictor.allowed_mirroring_axes = network, (0, 1)
    predictor.configuration_manager, predictor.label_manager = Settings(), Labels()
    return predictor.predict_sliding_window_return_logits(weights(5, torch.empty(1, 2, 5, 9)) * 4).float()


def sampling() -> dict[str, Any]:
    """Lowest and highest corner of a patch's canvas, and its corner for a chosen voxel, by the shape of a slice."""

    class Data:
        identifiers = ("one",)

    class Labels:
        all_labels, has_ignore_label = [1], False

    loader = nnUNetDataLoader(Data(), 49, CANVAS, PATCH, Labels(), 0.33)
    found = []
    for shape in ((3, 7, 30), (3, 10, 14), (3, 19, 17), (3, 26, 8)):
        np.random.seed(0)
        corners = np.array([loader.get_bbox(np.array(shape), False, None)[0] for _ in range(3000)])[:, 1:]
        voxels = [[1, 0, 0], [1, shape[1] // 2, shape[2] - 3], [1, shape[1] - 1, shape[2] - 1]]
        forced = [loader.get_bbox(np.array(shape), True, {1: np.array([[0, *voxel]])})[0][1:] for voxel in voxels]
        found.append(
            {"shape": shape, "lowest": corners.min(0), "highest": corners.max(0), "voxels": voxels, "forced": forced}
        )
    return {"slices": found, "forced_of_49": sum(loader.get_do_oversample(place) for place in range(49))}


def rates() -> list[float]:
    """Learning rate of each of ten epochs."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.01)
    schedule = PolyLRScheduler(optimizer, 0.01, 10)
    found = []
    for epoch in range(10):
        schedule.step(epoch)
        found.append(optimizer.param_groups[0]["lr"])
    return found


def plain(value: Any) -> Any:
    """Turn arrays into rounded lists."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, torch.Tensor):
        value = value.detach().numpy()
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return round(float(value), 5) if isinstance(value, float) else int(value)


def main() -> None:
    """Compute all answers and write them to the file that is named."""
    torch.set_num_threads(1)
    with torch.no_grad():
        answers = plain(
            {
                "augmentation": augmentation(),
                "network": network_and_loss(),
                "windows": windows(),
                "sampling": sampling(),
            }
        )
    versions = {name: version(name) for name in ("nnunetv2", "batchgeneratorsv2")}
    answers = {**versions, **answers, "rates": [round(rate, 9) for rate in rates()]}
    Path(sys.argv[1]).write_text(json.dumps(answers, separators=(",", ":")).replace('},"', '},\n"') + "\n")


if __name__ == "__main__":
    main()
