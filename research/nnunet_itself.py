"""Train nnU-Net itself on the folds of a study here, for a stated number of iterations, to compare ours with it.

Where nnunetv2 2.8.1 is installed as well, which this project does not depend on, from the repository's root and with
the set scanned (``benchmark data scan``):

    python research/nnunet_itself.py brats_small WORK 0 --configuration 3d_fullres --patch 48 48 32 --widths 16 160 \
        --batch 2 --epochs 5 --iterations 100 --out WORK/fold0
    benchmark score --manifest brats_small --reference LABELS --prediction WORK/fold0 --name nnunet_v2 \
        --only-predicted --fold 0 --seed 1 --out reports/nnunet_check_3d/external/fold0.csv

The first call writes nnU-Net's raw data set, plan and preprocessed cases into WORK; later ones use these. Without
``--patch``, ``--widths`` and ``--batch`` all is as nnU-Net plans it; 2d is the default. A patch is given along x, y and
z (2d: x and y). Its label maps of the fold's test cases have the set's own label values.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from benchmark.data.folds import load_folds
from benchmark.data.manifest import CaseList, load_cases

NUMBER, NAME = 501, "Dataset501_Benchmark"


def raw(cases: CaseList, folder: Path) -> None:
    """Write a set as nnU-Net reads it: a file a modality, labels 1, 2, ..., and the manifest's regions."""
    manifest, values = cases.manifest, sorted({v for region in cases.manifest.regions.values() for v in region})
    place = {value: position for position, value in enumerate(values, start=1)}
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for case in cases.cases:
        for channel, path in enumerate(case.images[modality] for modality in manifest.modalities):
            image = nibabel.load(cases.folder / path)
            image = nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine)
            nibabel.save(image, folder / "imagesTr" / f"{case.case_id}_{channel:04d}.nii.gz")
        label = nibabel.load(cases.folder / str(case.label))
        found = np.asarray(label.dataobj).astype(np.uint8)
        mapped = np.select([found == value for value in values], list(place.values()), 0).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(mapped, label.affine), folder / "labelsTr" / f"{case.case_id}.nii.gz")
    regions = {name: [place[value] for value in region] for name, region in manifest.regions.items()}
    description = {
        "channel_names": {str(number): name for number, name in enumerate(manifest.modalities)},
        "labels": {"background": 0, **regions},
        "regions_class_order": [place[value] for value in manifest.regions_class_order],
        "numTraining": len(cases.cases),
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "NibabelIO",
    }
    (folder / "dataset.json").write_text(json.dumps(description))


def prepare(cases: CaseList, work: Path, configuration: str) -> None:
    """Write the raw set, nnU-Net's fingerprint, plan and preprocessed cases, and the folds as its splits."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess

    raw(cases, work / "raw" / NAME)
    extract_fingerprints([NUMBER], num_processes=1)
    plan_experiments([NUMBER])
    preprocess([NUMBER], configurations=[configuration], num_processes=[1])
    sides = [
        {
            key: [case.case_id for case in cases.cases if case.patient_id in getattr(fold, side)]
            for key, side in (("train", "train"), ("val", "test"))
        }
        for fold in load_folds(cases.name, "patient")
    ]
    (work / "preprocessed" / NAME / "splits_final.json").write_text(json.dumps(sides))


def smaller(plan: dict[str, Any], patch: list[int] | None, widths: list[int] | None, batch: int) -> None:
    """Change a configuration of nnU-Net's plan: another patch with the stages its rules give it, fewer channels."""
    from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props

    network = plan["architecture"]["arch_kwargs"]
    if patch:
        # nnU-Net's axes are z, y, x.
        _, strides, kernels, size, _ = get_pool_and_conv_props(plan["spacing"], patch[::-1], 4, 999999)
        stages = len(strides)
        plan["patch_size"] = [int(side) for side in size]
        network |= {"n_stages": stages, "strides": strides, "kernel_sizes": kernels}
        network |= {"n_conv_per_stage": [2] * stages, "n_conv_per_stage_decoder": [2] * (stages - 1)}
    if patch or widths:
        first, most = widths or (32, 320 if len(plan["spacing"]) == 3 else 512)
        network["features_per_stage"] = [min(most, first * 2**stage) for stage in range(network["n_stages"])]
    plan["batch_size"] = batch or plan["batch_size"]


def train(options: argparse.Namespace) -> Path:
    """Train on a fold and predict its test cases; return the folder of the label maps, as nnU-Net numbers them."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    torch.manual_seed(options.seed)
    np.random.seed(options.seed)
    folder = options.work / "preprocessed" / NAME
    plans = json.loads((folder / "nnUNetPlans.json").read_text())
    plans["continue_training"] = False
    plan = plans["configurations"][options.configuration]
    smaller(plan, options.patch, options.widths, options.batch)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    description = json.loads((folder / "dataset.json").read_text())
    trainer = nnUNetTrainer(plans, options.configuration, options.fold, description, device=device)
    trainer.num_epochs, trainer.num_iterations_per_epoch = options.epochs, options.iterations
    trainer.num_val_iterations_per_epoch = 2
    started, processor = time.time(), time.process_time()
    trainer.run_training()
    seconds = (time.time() - started) / (options.epochs * options.iterations)
    busy = (time.process_time() - processor) / (options.epochs * options.iterations)
    what = f"patch {plan['patch_size']}, batch {plan['batch_size']}"
    print(f"{what}: {seconds:.2f} s an iteration, {busy:.2f} of it computing")
    trainer.perform_actual_validation(False)
    return Path(trainer.output_folder, "validation")


def main() -> None:
    """Prepare where that is not done, train, and write label maps with the set's own values."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", help="a scanned set")
    parser.add_argument("work", type=lambda text: Path(text).resolve())
    parser.add_argument("fold", type=int)
    parser.add_argument("--configuration", default="2d", choices=["2d", "3d_fullres"])
    parser.add_argument("--patch", type=int, nargs="+")
    parser.add_argument("--widths", type=int, nargs=2, help="channels of the first stage, and the most of any")
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=250)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(options.work / name)
        (options.work / name).mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("nnUNet_compile", "f")
    cases = load_cases(options.data)
    done = options.work / "preprocessed" / NAME / f"nnUNetPlans_{options.configuration}"
    if not done.exists():
        prepare(cases, options.work, options.configuration)
    values = np.array([0, *sorted({v for region in cases.manifest.regions.values() for v in region})], np.uint8)
    predicted = train(options)
    options.out.mkdir(parents=True, exist_ok=True)
    for path in sorted(predicted.glob("*.nii.gz")):
        image = nibabel.load(path)
        labels = values[np.asarray(image.dataobj).astype(np.uint8)]
        nibabel.save(nibabel.Nifti1Image(labels, image.affine), options.out / path.name)


# nnU-Net starts processes that import this file again.
if __name__ == "__main__":
    main()
