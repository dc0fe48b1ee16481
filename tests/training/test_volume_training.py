"""3D trainings of the phantom through MONAI's own runner: they learn, go on to the bit, and predict whole volumes."""

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from helpers.project import CHANNELS, shell, write_study
from helpers.trainings import assert_same_training

from benchmark.data.manifest import data_folder
from benchmark.data.prepare import DataSet
from benchmark.studies import run as running
from benchmark.studies import store, study
from benchmark.training import handlers

DEEP = {"spatial_dims": 3, "spatial_size": [16, 16, 16]}
TRAIN = {**DEEP, "channels": CHANNELS, "cpu_threads": 1, "num_workers": 0, "learning_rate": 0.01, "epoch_images": 8}


def workflow(folder, files, run_id, **settings):
    from monai.bundle import ConfigWorkflow

    made = ConfigWorkflow(
        config_file=[f"bundles/{file}.json" for file in files], workflow_type=None, run_id=run_id,
        bundle_root=str(folder), **settings,
    )  # fmt: skip
    made.initialize()
    made.run()
    made.finalize()


@pytest.fixture(scope="module")
def folders(template, tmp_path_factory):
    """Two epochs of `unet` in one go, and again from what a kill after the first would have left."""
    straight, killed = tmp_path_factory.mktemp("straight"), tmp_path_factory.mktemp("killed")
    real = handlers.Resume.start_clock

    def start_clock(resume, engine):
        if engine.state.epoch == 2 and resume.folder.parent == straight:
            shutil.copytree(resume.folder, killed / "models")
        real(resume, engine)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(template)
        patch.setattr(handlers.Resume, "start_clock", start_clock)
        for folder in (straight, killed):
            workflow(folder, ["unet/configs/train"], "training", max_epochs=2, **TRAIN)
        inference = {key: value for key, value in TRAIN.items() if key in (*DEEP, "channels", "cpu_threads")}
        workflow(killed, ["unet/configs/inference"], "inference", **inference)
        yield straight, killed


def test_it_learns_and_goes_on_to_the_bit(folders):
    straight, killed = folders
    history = pd.read_csv(straight / "models" / "history.csv")
    assert history["images"].tolist() == [8, 8] and history["iterations"].tolist() == [4, 4]
    assert history["train_loss"].iloc[1] < history["train_loss"].iloc[0] and history["val_dice"].between(0, 1).all()
    assert_same_training(killed, straight)


def test_it_predicts_whole_volumes_in_their_own_space(folders):
    cases = DataSet("phantom").part(0, "test")
    for case in cases:
        predicted = nibabel.load(folders[1] / "predictions" / f"{case.case.case_id}.nii.gz")
        published = nibabel.load(data_folder("phantom") / case.case.label)
        assert predicted.shape == published.shape and predicted.get_data_dtype() == np.uint8
        np.testing.assert_allclose(predicted.affine, published.affine, atol=1e-5)
        assert (folders[1] / "probabilities" / f"{case.case.case_id}.nii.gz").exists()


def test_nnunets_own_recipe_trains_in_3d(project, tmp_path):
    files = ["nnunet/configs/train", "nnunet/configs/native"]
    settings = {"channels": CHANNELS, "cpu_threads": 1, "num_workers": 0, "max_epochs": 1, "epoch_images": 4, **DEEP}
    workflow(tmp_path, files, "training", **settings, batch_size=2)
    assert pd.read_csv(tmp_path / "models" / "history.csv")["images"].tolist() == [4]


@pytest.mark.slow(reason="trains two runs and writes a report")
def test_a_study_has_twins_in_one_table_with_their_costs(project):
    """Rows of both dimensions: parameters and multiply-adds of the input that each names; 3D is said."""
    small = {key: TRAIN[key] for key in ("channels", "epoch_images", "learning_rate")}
    models = [{"bundle": "unet"}, {"bundle": "unet", "variant": "3d", "set": {**DEEP, "batch_size": 2}}]
    write_study("twins", models=models, set={**small, "spatial_size": [16, 16], "batch_size": 2, "max_epochs": 1})
    for run in study.load("twins").runs():
        running.run(run, "phantom")
    done = shell("report", "twins")
    assert done.returncode == 0, done.stderr
    costs = pd.read_csv("reports/twins/costs.csv").set_index("model")
    assert costs["input"].to_dict() == {"unet": "4 x 16 x 16", "unet/3d": "4 x 16 x 16 x 16"}
    deep = json.loads(Path(store.folder(study.load("twins").runs()[1]), "run.json").read_text())["network"]
    assert deep["input"] == [4, 16, 16, 16] and costs.loc["unet/3d", "multiply_adds"] == deep["multiply_adds"]
    report = Path("reports/twins/report.md").read_text()
    assert "in 3D, patch by patch: unet/3d (16 x 16 x 16 voxels); all others in 2D, slice by slice." in report
