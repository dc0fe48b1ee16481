"""Every bundle, by the protocol and by its own recipe: trained, resumed and used on a phantom by MONAI's own runner."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pandas as pd
import pytest
from helpers.project import CHANNELS, REPOSITORY
from helpers.trainings import assert_same_training, last

from benchmark.data.manifest import data_folder
from benchmark.data.prepare import DataSet
from benchmark.data.slices import EpochSampler, PatchSampler
from benchmark.scoring import detection
from benchmark.studies import bundle
from benchmark.training import handlers

SMALL = {"channels": CHANNELS, "spatial_size": [32, 32], "cpu_threads": 1}
SHORT = {"max_epochs": 2, "epoch_images": 16, "val_interval": 1, "num_workers": 0}
"""One or two batches per epoch, each epoch validated; every other number of a recipe is its own."""

UNTRAINED = {"unetpp": {f"network.final_conv_0_{node}.weight" for node in (1, 2, 3)}}
"""Kernels that no recipe trains: MONAI's U-Net++ has an output at each node of its first level; the last is used."""

CONFIGS = sorted(REPOSITORY.glob("bundles/*/configs/model.json"))
ABLATION = json.loads(Path(REPOSITORY, "reports/mandekar2025/study.json").read_text(encoding="utf-8"))["models"]
WIDER = {"mednext": {"channels": [8, 16, 32, 64, 128]}}
"""With 4 channels, last in memory, torch 2.13's backward pass ends the process on a processor without AVX-512."""

RECIPES = [
    *((path.parents[1].name, "protocol", WIDER.get(path.parents[1].name, {})) for path in CONFIGS),
    *((path.parents[1].name, "native", {}) for path in CONFIGS if path.with_name("native.json").exists()),
    *((model["bundle"], model["variant"], model["set"]) for model in ABLATION if "set" in model),
]
"""Bundle, recipe and ids that it sets: each bundle by the protocol, by its own recipe, and LA-ResUNet's Table III."""


def workflow(folder, name, recipe, kind, settings):
    """What ``python -m monai.bundle run`` does with one config, or with a native recipe as the second."""
    from monai.bundle import ConfigWorkflow

    files = [f"bundles/{name}/configs/{kind}.json"]
    if recipe == "native":
        files.append(f"bundles/{name}/configs/native.json")
    run_id = {"train": "training", "inference": "inference"}[kind]
    made = ConfigWorkflow(config_file=files, workflow_type=None, run_id=run_id, bundle_root=str(folder), **settings)
    made.initialize()
    made.run()
    made.finalize()


@pytest.fixture(scope="module", params=RECIPES, ids=lambda recipe: "-".join(recipe[:2]))
def run(request, template, tmp_path_factory):
    """Two epochs of a recipe in one go, and again from what a kill after the first would have left; both folders."""
    name, recipe, changes = request.param
    straight, killed = tmp_path_factory.mktemp("straight"), tmp_path_factory.mktemp("killed")
    real, draw, drawn = handlers.Resume.start_clock, {kind: kind.draw for kind in (EpochSampler, PatchSampler)}, []

    def start_clock(resume, engine):
        if engine.state.epoch == 2 and resume.folder.parent == straight:
            shutil.copytree(resume.folder, killed / "models")
        real(resume, engine)

    def drawing(sampler):
        found = draw[type(sampler)](sampler)
        drawn.append([column.tolist() for column in found])
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(template)
        patch.setattr(handlers.Resume, "start_clock", start_clock)
        for kind in draw:
            patch.setattr(kind, "draw", drawing)
        # A canvas that a recipe plans is part of it; inference has no loss.
        planned = bundle.compose(name).get("native", {}) if recipe == "native" else {}
        small = {key: value for key, value in SMALL.items() if key not in planned}
        train = {**small, **SHORT, **changes}
        inference = {**small, **{key: value for key, value in changes.items() if not key.startswith("loss")}}
        workflow(straight, name, recipe, "train", train)
        first = SimpleNamespace(
            files=sorted(path.name for path in (killed / "models").iterdir()),
            state=last(killed),
            history=(killed / "models" / "history.csv").read_text(),
        )
        workflow(killed, name, recipe, "train", train)
        workflow(killed, name, recipe, "inference", inference)
        yield SimpleNamespace(name=name, straight=straight, folder=killed, first=first, drawn=drawn)


def test_a_training_that_was_killed_goes_on_to_the_same_weights(run):
    """Its first epoch stays in the history; the second shows other slices and moves every kernel, as in one go."""
    assert run.first.files == ["history.csv", "last.pt"] and run.first.state["epoch"] == 1
    rows = (run.folder / "models" / "history.csv").read_text().splitlines()
    assert rows[:2] == run.first.history.splitlines()
    history = pd.read_csv(run.folder / "models" / "history.csv")
    assert history["epoch"].tolist() == [1, 2]
    assert np.isfinite(history).all(axis=None)
    first, second, again = run.drawn
    assert len(first) > 0 and first != second and second == again
    before, after = run.first.state["network"], last(run.folder)["network"]
    # Kernels only: a bias before batch normalisation has no gradient, and not every recipe decays it.
    kernels = [name for name, value in before.items() if value.ndim > 1 and value.is_floating_point()]
    still = {name for name in kernels if before[name].equal(after[name])}
    assert still == UNTRAINED.get(run.name, set())
    assert_same_training(run.folder, run.straight)


def test_it_predicts_each_test_case_in_its_own_space(run):
    data = DataSet("phantom")
    cases = {case.case.case_id: case for case in data.part(0, "test")}
    files = sorted((run.folder / "predictions").iterdir())
    task = json.loads(Path(f"bundles/{run.name}/configs/inference.json").read_text())["task"]
    ending = {"segmentation": ".nii.gz", "classification": ".csv"}[task]
    assert [path.name for path in files] == [f"{case_id}{ending}" for case_id in sorted(cases)]
    for path in files:
        case = cases[path.name.removesuffix(ending)]
        published = nibabel.load(data_folder("phantom") / case.case.label)
        labels = np.asarray(published.dataobj)
        if task == "classification":
            table = detection.read_slices(path)
            assert table["z"].tolist() == case.z
            # The phantom is stored in RAS orientation, in which z counts.
            assert table["truth"].tolist() == labels.any(axis=(0, 1))[case.z].astype(int).tolist()
        else:
            predicted = nibabel.load(path)
            assert predicted.get_data_dtype() == np.uint8 and predicted.shape == published.shape
            np.testing.assert_allclose(predicted.affine, published.affine, atol=1e-5)
            assert set(np.unique(predicted.dataobj)) <= {int(value) for value in data.manifest.labels}
