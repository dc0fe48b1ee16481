"""The mean of several seeds' probabilities as one more system."""

import json
import re
import shutil
from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.project import write_study
from helpers.results import pages_text
from monai.metrics import compute_dice

from benchmark.base.records import Run
from benchmark.data.manifest import load_cases
from benchmark.data.prepare import prepare
from benchmark.data.probabilities import CUT, MOST, read_probabilities
from benchmark.scoring import score_table
from benchmark.scoring.metrics import score_case
from benchmark.stats.compare import compare
from benchmark.stats.seeds import ONE_SET
from benchmark.studies import ensemble, store, study
from benchmark.studies import run as running


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_mean_is_cut_exactly_at_one_half(count):
    near = [0, 1, 126, 127, 128, 129, 254, 255]
    several = [np.array(codes, np.uint8) for codes in zip(*product(near, repeat=count), strict=True)]
    mean = np.mean(several, axis=0)
    found = ensemble.average(several)
    np.testing.assert_array_equal(found >= CUT, mean / MOST > 0.5)
    assert np.abs(found - mean).max() <= 0.5
    if count == 1:
        np.testing.assert_array_equal(found, several[0])


def test_disagreement_is_one_less_the_mean_dice_of_all_pairs():
    masks = [np.random.default_rng(seed).random((6, 7, 8)) < 0.3 for seed in range(3)]
    tensors = [torch.from_numpy(mask)[None, None] for mask in masks]
    dice = [compute_dice(tensors[a], tensors[b]).item() for a, b in ((0, 1), (0, 2), (1, 2))]
    assert ensemble.disagreement(masks) == pytest.approx(1 - np.mean(dice), abs=1e-6)
    empty = np.zeros((6, 7, 8), bool)
    assert ensemble.disagreement([empty, empty]) == 0 and ensemble.disagreement([masks[0], empty]) == 1


@pytest.mark.parametrize(
    ("tested", "joined"),
    [
        ({(0, 1): "ab", (1, 1): "c", (0, 2): "ab", (1, 2): "c"}, True),
        ({(0, 1): "ab", (1, 1): "c", (0, 2): "bc", (1, 2): "a"}, True),  # each seed deals the patients anew
        ({(0, 1): "ab", (1, 1): "c", (0, 2): "ab"}, False),
        ({(0, 1): "ab", (0, 2): "bc"}, False),
        ({(0, 1): "ab", (1, 1): "c"}, False),
    ],
)
def test_only_cases_tested_once_under_each_seed_make_an_ensemble(project, monkeypatch, tested, joined):
    record = SimpleNamespace(identity={"fold": {"test": []}})
    monkeypatch.setattr(store, "read_record", lambda _: record)
    runs = [Run("two", "unet", "default", fold, seed) for fold, seed in tested]
    for run in runs:
        (store.folder(run) / "probabilities").mkdir(parents=True)
        (store.folder(run) / "calibration.csv").touch()
        for case in tested[run.fold, run.seed]:
            (store.folder(run) / "probabilities" / f"{case}.nii.gz").touch()
    found = ensemble.members(runs)
    assert bool(found) == joined
    for case, of_case in found.items():
        assert [run.seed for run in of_case] == [1, 2] and all(case in tested[run.fold, run.seed] for run in of_case)
    # Cases of a split by slice are tested in parts; a run without probabilities has no part in an ensemble.
    record.identity["fold"]["by"] = "slice"
    assert ensemble.members(runs) == {}
    record.identity["fold"].pop("by")
    (store.folder(runs[0]) / "calibration.csv").unlink()
    assert ensemble.members(runs) == {}


def test_methods_are_not_compared_by_ensembles():
    random, patients, scores = np.random.default_rng(0), range(30), []
    for bundle, variant in product("ab", ("default", ensemble.variant_of("default"))):
        joined = variant != "default"
        for seed in [0] if joined else [1, 2, 3]:
            fold_of = random.permutation(30) % 3
            for patient in patients:
                fold = ensemble.RUN["fold"] if joined else fold_of[patient]
                scores.append((bundle, variant, fold, seed, f"P{patient}", random.normal(0.8, 0.1)))
    table = pd.DataFrame(scores, columns=["bundle", "variant", "fold", "seed", "patient_id", "value"]).assign(
        case_id=lambda own: own["patient_id"], region="WT", metric="dice", metric_version="1", note=""
    )  # fmt: skip
    declared = {"metrics": ["dice"], "test": "two_level", "pairs": [["a", "a/ensemble"], ["a/ensemble", "b/ensemble"]]}
    found = compare(table, declared, {"dice": "higher"})
    assert set(found["verdict"]) == {"not tested"} and set(found["note"]) == {ONE_SET}
    np.testing.assert_allclose(found["difference"], found["mean_a"] - found["mean_b"], atol=1e-12)


@pytest.fixture
def two(project):
    """Two seeds of one model, finished."""
    write_study("two", models=[{"bundle": "unet"}], seeds=[1, 2], partitions="shared")
    runs = study.load("two").runs()
    for run in runs:
        running.run(run, "phantom")
    return runs


def test_seeds_become_one_system(two, project, command):
    cases = load_cases("phantom")
    found = ensemble.gather(two, cases)
    assert set(found.scores["variant"]) == {"ensemble"} and set(found.scores["bundle"]) == {"unet"}
    tested = {case.case.case_id: case for case in prepare("phantom")}
    for case in found.scores["case_id"].unique():
        codes = [read_probabilities(store.folder(run) / "probabilities" / f"{case}.nii.gz") for run in two]
        mean = np.mean([one / MOST for one in codes], axis=0)
        labels = np.zeros(mean.shape[:3], np.uint8)
        for value, region in zip([2, 1, 4], np.moveaxis(mean > 0.5, -1, 0), strict=True):
            labels[region] = value
        expected = score_case(tested[case].original_label(), labels, tested[case].spacing, cases.manifest.regions)
        rows = found.scores[found.scores["case_id"] == case].set_index("region")
        for row in expected:
            assert rows.loc[row["region"], "dice"] == pytest.approx(row["dice"], abs=1e-8)
            assert rows.loc[row["region"], "tp"] == row["tp"]
    assert set(found.errors["variant"]) == {"default", "ensemble"}
    # Made once: the files of the ensemble are read the next time.
    place = project / "runs/two/unet/default/ensemble"
    before = {path: path.stat().st_mtime_ns for path in place.iterdir()}
    again = ensemble.gather(two, cases)
    pd.testing.assert_frame_equal(again.scores, found.scores)
    assert {path: path.stat().st_mtime_ns for path in place.iterdir()} == before
    # One seed is no ensemble.
    assert ensemble.members(two[:1]) == {}
    # One trained system, in whatever fold its members were.
    moved = [replace(run, fold=1) for run in two]
    for before, after in zip(two, moved, strict=True):
        shutil.copytree(store.folder(before), store.folder(after))
    joined = ensemble.gather(moved, cases).scores
    assert set(zip(joined["fold"], joined["seed"], strict=True)) == {(0, 0)}
    _reported(two, project, command)


def _reported(two, project, command):
    assert command("report", "two")[0] == 0
    text = pages_text(project / "reports/two")
    assert "| unet, ensemble |" in text and "## Probabilities" in text and "Ensemble: the mean of its seeds" in text
    assert (project / "reports/two/figures/reliability.png").stat().st_size > 5000
    assert set(score_table.read(project / "reports/two/scores.csv")["variant"]) == {"default"}
    # A number of an ensemble is followed to its rows as any other.
    code, out, err = command("explain", "two", "--bundle", "unet", "--variant", "ensemble", "--region", "WT", "--json")
    assert code == 0, err
    dice = re.search(r"\| unet, ensemble \| (\d\.\d{3})", text)[1]
    assert f"{json.loads(out)['summary']['mean']:.3f}" == dice and "ensembles.csv" in json.loads(out)["source"]
    # It is compared where a pair names it, and then a row like the others.
    declared = {"metrics": ["dice"], "test": "wilcoxon", "pairs": [["unet", "unet/ensemble"]]}
    write_study("two", models=[{"bundle": "unet"}], seeds=[1, 2], partitions="shared", compare=declared)
    assert command("report", "two")[0] == 0
    compared = pd.read_csv(project / "reports/two/comparisons.csv")
    assert len(compared) == 3 and set(compared["model_b"]) == {"unet/ensemble"}
    again = pages_text(project / "reports/two")
    assert "| unet/ensemble |" in again and "Ensemble: the mean of its seeds" not in again
    assert "Runs: 2 with scores" in again
    # Without the probabilities the rest of the report stands.
    write_study("two", models=[{"bundle": "unet"}], seeds=[1, 2], partitions="shared")
    for run in two:
        (store.folder(run) / "calibration.csv").unlink()
    assert command("report", "two")[0] == 0
    text = pages_text(project / "reports/two")
    assert "No run of this study kept the probabilities" in text and "ensemble |" not in text
    assert not (project / "reports/two/ensembles.csv").exists()
