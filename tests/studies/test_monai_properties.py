"""Bundles as tools built on MONAI's properties use them: all that is required, and data from another folder."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from helpers.project import CHANNELS, REPOSITORY

from benchmark.base.records import InputError, Run
from benchmark.data.manifest import data_folder, record_folder
from benchmark.data.prepare import DataSet
from benchmark.studies import bundle, store

NAMES = sorted(path.parents[1].name for path in REPOSITORY.glob("bundles/*/configs/model.json"))
SMALL = {"channels": CHANNELS, "spatial_size": [32, 32], "num_workers": 0, "cpu_threads": 1}
RUN = Run("tiny", "unet", "default", 0, 1)


def workflow(kind, name="unet", **settings):
    from monai.bundle import create_workflow

    path = f"bundles/{name}/configs/{kind}.json"
    run_id = {"train": "training", "inference": "inference"}[kind]
    return create_workflow(config_file=path, workflow_type=kind, run_id=run_id, **SMALL, **settings)


@pytest.mark.parametrize("kind", bundle.CONFIGS)
@pytest.mark.parametrize("name", NAMES)
def test_every_bundle_has_the_properties_that_monai_requires(template, monkeypatch, name, kind):
    monkeypatch.chdir(template)
    made = workflow(kind, name)
    assert made.check_properties() == []
    assert made.dataset_dir == str(data_folder("phantom"))
    optional = {"train": ["evaluator", "val_interval", "val_inferer", "val_key_metric"], "inference": ["handlers"]}
    assert all(getattr(made, key) is not None for key in ("network_def", *optional[kind]))


def test_a_set_that_was_moved_trains_and_predicts_from_its_new_place(project, tmp_path):
    """Nothing is generated, scanned or read where it was; weights and label maps are those of the old place."""
    found = {}
    for place in ("old", "new"):
        shutil.rmtree("runs/prepared")
        folder, there = tmp_path / place, {}
        if place == "new":
            moved = shutil.move(data_folder("phantom"), tmp_path / "elsewhere")
            there = {"dataset_dir": str(moved)}
        train = {"max_epochs": 1, "epoch_images": 16, "bundle_root": str(folder)}
        for kind, settings in (("train", train), ("inference", {"bundle_root": str(folder)})):
            made = workflow(kind, **settings, **there)
            made.initialize()
            made.run()
        files = [folder / "models" / "model.pt", *sorted((folder / "predictions").iterdir())]
        found[place] = [(path.name, path.read_bytes()) for path in files]
    assert len(found["new"]) == 1 + len(DataSet("phantom", folder=str(moved)).part(0, "test"))
    assert found["new"] == found["old"]
    assert not Path("runs/data/phantom").exists()


def test_a_folder_without_the_sets_files_is_refused(project, tmp_path):
    """Also where all is prepared, and nothing would be read."""
    with pytest.raises(InputError, match=r"nowhere: expected the folder of phantom \(dataset_dir\), found none"):
        DataSet("phantom", folder="nowhere").part(0, "test")
    with pytest.raises(InputError, match="expected a readable file"):
        DataSet("phantom", folder=str(tmp_path)).part(0, "all")
    other = shutil.copytree(data_folder("phantom"), tmp_path / "other")
    case = DataSet("phantom").part(0, "test")[0].case
    (other / case.label).write_bytes((other / next(iter(case.images.values()))).read_bytes())
    with pytest.raises(InputError, match=r"is not the file of phantom that was scanned: .* as dataset_dir"):
        DataSet("phantom", folder=str(other)).part(0, "test")


def test_the_place_of_the_data_is_no_part_of_a_runs_identity(project, tmp_path):
    before = store.identity(RUN, DataSet("phantom"), bundle.frozen(RUN, "phantom"))
    record_folder("phantom", shutil.copytree(data_folder("phantom"), tmp_path / "other"))
    frozen = bundle.frozen(RUN, "phantom")
    assert str(tmp_path) not in json.dumps(frozen)
    after = store.identity(RUN, DataSet("phantom"), frozen)
    assert after == before and "dataset_dir" not in json.dumps(after)
    with pytest.raises(InputError, match="Id 'dataset_dir' cannot be set"):
        bundle.frozen(dataclasses.replace(RUN, overrides={"dataset_dir": "elsewhere"}), "phantom")
