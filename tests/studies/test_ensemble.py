"""Ensembles: of a model's seeds for a report, and of models as systems of a study."""

import json
import re
import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.project import TINY, write_study
from helpers.results import blank_pictures, pages_text
from monai.metrics import compute_dice

from benchmark.base.records import InputError, Run
from benchmark.data.manifest import load_cases, load_manifest
from benchmark.data.prepare import prepare
from benchmark.data.probabilities import CUT, FOLDER, MOST, read_probabilities, write_probabilities
from benchmark.data.volumes import read_volume, write_label_map
from benchmark.results.publish import publish
from benchmark.results.results import Results
from benchmark.scoring import score_table
from benchmark.scoring.metrics import score_case
from benchmark.stats.compare import compare
from benchmark.stats.seeds import ONE_SET
from benchmark.studies import bundle as bundles
from benchmark.studies import ensemble, execute, store, study, trained
from benchmark.studies import run as running


def test_the_runs_of_a_declared_ensemble_have_configs_like_any_other():
    (run,) = {run.model: run for run in study.load("hossen2025").runs() if run.by}.values()
    assert bundles.frozen(run, "phantom")["train"]["spatial_dims"] == 2
    assert bundles.epochs(run, "phantom") == 0


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


def test_seeds_become_one_system(two, project, command, monkeypatch):
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
    _reported(two, project, command, monkeypatch)


def _reported(two, project, command, monkeypatch):
    assert command("report", "two")[0] == 0
    text = pages_text(project / "reports/two")
    assert "| unet, ensemble |" in text and "## Probabilities" in text and "Ensemble: the mean of its seeds" in text
    assert (project / "reports/two/figures/reliability.png").stat().st_size > 5000
    blank_pictures(monkeypatch)
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


def test_the_majority_is_more_than_half_and_a_tie_is_none():
    masks = [np.array(mask, bool) for mask in ([1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [1, 0, 0, 1, 0], [1, 0, 1, 0, 0])]
    assert ensemble.majority(masks[:3]).tolist() == [True, True, False, False, False]
    assert ensemble.majority(masks).tolist() == [True, False, False, False, False]
    assert ensemble.majority(masks[:2]).tolist() == (masks[0] & masks[1]).tolist()


def boxes():
    """A box of 4 x 4 x 4 in 8 x 8 x 8, the same moved by one voxel along an axis, and one that is elsewhere."""
    box = np.zeros((8, 8, 8), bool)
    box[2:6, 2:6, 2:6] = True
    return box, np.roll(box, 1, 0), np.roll(box, 4, 2)


def warfield(masks, steps=100):
    """Probabilities of STAPLE, from its two equations (Warfield et al. 2004, eq. 14 and 18-19)."""
    decided = np.array([mask.ravel() for mask in masks], float)
    prior, sensitive, specific = decided.mean(), [0.99999] * len(masks), [0.99999] * len(masks)
    for _ in range(steps):
        inside, outside = prior, 1 - prior
        for one, p, q in zip(decided, sensitive, specific, strict=True):
            inside, outside = inside * np.where(one, p, 1 - p), outside * np.where(one, 1 - q, q)
        weight = inside / (inside + outside)
        sensitive = [(weight * one).sum() / weight.sum() for one in decided]
        specific = [((1 - weight) * (1 - one)).sum() / (1 - weight).sum() for one in decided]
    return weight.reshape(masks[0].shape)


def test_staple_is_that_of_its_equations():
    box, moved, elsewhere = boxes()
    for masks in ([box, moved], [box, moved, np.roll(box, 1, 1)], [box, box, elsewhere]):
        np.testing.assert_array_equal(ensemble.staple(masks), warfield(masks) > 0.5 + 1e-6)
    # A mask that agrees with no other counts for nothing.
    np.testing.assert_array_equal(ensemble.staple([box, box, elsewhere]), box)


def test_staple_of_masks_without_a_number_of_its_own():
    box, *_ = boxes()
    empty = np.zeros_like(box)
    for mask in (empty, ~empty, box):
        np.testing.assert_array_equal(ensemble.staple([mask, mask, mask]), mask)
    # Nothing tells which of two is right: one half is no tumour.
    np.testing.assert_array_equal(ensemble.staple([box, empty]), empty)
    np.testing.assert_array_equal(ensemble.staple([box, box, empty]), box)


def test_label_maps_are_joined_region_by_region(project, tmp_path):
    """A voxel is of two maps' whole tumour and of two others' core, by majority, whatever labels these wrote."""
    manifest = load_manifest("phantom")
    assert [*manifest.regions] == ["WT", "TC", "ET"]
    columns = {"a": [2, 2, 1, 4, 0], "b": [2, 0, 4, 4, 0], "c": [0, 0, 2, 1, 4]}
    places = [tmp_path / name for name in columns]
    for place, labels in zip(places, columns.values(), strict=True):
        write_label_map(place / "predictions" / "case.nii.gz", np.array(labels, np.uint8).reshape(5, 1, 1), np.eye(4))
    found, codes = ensemble.join("majority", places, "case", manifest)
    assert found.ravel().tolist() == [2, 0, 1, 4, 0] and codes is None
    with pytest.raises(InputError, match=r"a/probabilities/case\.nii\.gz does not exist: expected the probabilities"):
        ensemble.join("mean", places, "case", manifest)
    for place, whole in zip(places, (100, 200, 83), strict=True):
        of_case = np.array([[whole, 0, 0], [whole, 200, 129]], np.uint8).reshape(2, 1, 1, 3)
        write_probabilities(place / FOLDER / "case.nii.gz", of_case, np.eye(4), [*manifest.regions])
    found, codes = ensemble.join("mean", places, "case", manifest)
    # 383 / 3 is 127.67, above one half.
    assert codes.ravel().tolist() == [128, 0, 0, 128, 200, 129] and found.ravel().tolist() == [2, 4]


MEMBERS = ["unet", "resunet_tversky", "la_resunet"]
JOINED = [
    {"bundle": "both", "ensemble": MEMBERS[:2]},
    {"bundle": "vote", "ensemble": MEMBERS, "by": "majority"},
    {"bundle": "vote", "variant": "staple", "ensemble": MEMBERS, "by": "staple"},
]


@pytest.fixture(scope="module")
def joined(template, tmp_path_factory):
    """The project after three models with an epoch each, and three ensembles of them, in this process; reported."""
    folder = shutil.copytree(template, tmp_path_factory.mktemp("joined") / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        settings = {**TINY["set"], "max_epochs": 1, "epoch_images": 8}
        write_study("tiny", models=[*TINY["models"], *JOINED], set=settings)
        declared = study.load("tiny")
        for run in declared.runs():
            running.run(run, "phantom")
        blank_pictures(patch)
        publish(declared)
    return folder


def test_ensembles_are_systems_of_a_study(joined, monkeypatch):
    monkeypatch.chdir(joined)
    runs = {run.model: run for run in study.load("tiny").runs()}
    assert [*runs] == [*MEMBERS, "both", "vote", "vote/staple"]
    manifest, places = load_manifest("phantom"), {name: store.folder(run) for name, run in runs.items()}
    cases = sorted(path.name for path in (places["both"] / "predictions").iterdir())
    assert cases
    for name in cases:
        codes = [read_probabilities(places[member] / FOLDER / name) for member in MEMBERS[:2]]
        mean = np.mean(codes, axis=0)
        kept = read_probabilities(places["both"] / FOLDER / name)
        assert np.abs(kept - mean).max() <= 0.5
        labels = {model: read_volume(place / "predictions" / name)[0] for model, place in places.items()}
        for place, (region, values) in enumerate(manifest.regions.items()):
            votes = sum(np.isin(labels[member], values).astype(int) for member in MEMBERS)
            np.testing.assert_array_equal(np.isin(labels["vote"], values), votes >= 2)
            if region == "ET":  # in which no other region's label is written over it
                np.testing.assert_array_equal(np.isin(labels["both"], values), mean[..., place] / MOST > 0.5)
    record = store.read_record(places["vote"])
    assert record.identity["by"] == "majority" and len(record.identity["stages"]) == 3
    assert not (places["vote"] / FOLDER).exists() and not (places["both"] / "models").exists()
    assert all("train" not in (store.read_record(places[name]).stages or {}) for name in ("both", "vote"))


def test_an_ensemble_is_scored_compared_costed_and_explained(joined, monkeypatch, command):
    monkeypatch.chdir(joined)
    scores = pd.read_csv("reports/tiny/scores.csv")
    assert set(scores["bundle"]) == {*MEMBERS, "both", "vote"}
    pairs = pd.read_csv("reports/tiny/comparisons.csv")
    assert {"both", "vote", "vote/staple"} <= {*pairs["model_a"], *pairs["model_b"]}
    found = pd.read_csv("reports/tiny/costs.csv").set_index("model")
    for column in ("parameters", "multiply_adds", "training_hours", "inference_case_seconds"):
        for name, members in (("both", MEMBERS[:2]), ("vote", MEMBERS)):
            assert found.loc[name, column] == pytest.approx(found.loc[members, column].sum(), rel=1e-5)
    text = pages_text(Path("reports/tiny"))
    assert "oins unet and resunet_tversky by the mean of their probabilities and costs what they do together" in text
    assert "by STAPLE and costs what they do together (vote/staple)" in text
    calibrated = pd.read_csv("reports/tiny/calibration.csv")
    assert "both" in set(calibrated["bundle"]) and "vote" not in set(calibrated["bundle"])
    code, out, _ = command("explain", "tiny", "--bundle", "both", "--metric", "training_hours")
    assert code == 0 and all(f"{name}/default/fold0-seed1" in out for name in MEMBERS[:2])
    code, out, _ = command("explain", "tiny", "--bundle", "vote", "--variant", "staple", "--region", "ET")
    assert code == 0 and "vote/staple/fold0-seed1" in out
    assert command("check", "tiny", "--accept")[0] == 0 and command("check", "tiny")[0] == 0
    code, out, _ = command("plan", "tiny")
    assert code == 0 and "vote/staple/fold0-seed1" in out and "stale" not in out


def test_an_ensemble_follows_its_members(joined, tmp_path, monkeypatch, command):
    """A member that was trained anew makes it stale, and one that is not done cannot be joined."""
    monkeypatch.chdir(shutil.copytree(joined, tmp_path / "project"))
    runs = {run.model: run for run in study.load("tiny").runs()}
    record = store.folder(runs["unet"]) / "run.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "fingerprint": "0" * 64}))
    with pytest.raises(InputError, match=f"differs in stages#{runs['unet'].id}"):
        running.run(runs["both"], "phantom")
    shutil.rmtree(store.folder(runs["unet"]))
    shutil.rmtree(store.folder(runs["both"]))
    code, _, error = command("run-all", "tiny", "--select", "bundle=both")
    assert code == 2 and f"joins {runs['unet'].id}: expected that run to be done" in error


def test_an_ensemble_follows_the_bytes_that_it_joins(joined, tmp_path, monkeypatch, command):
    """A member that was trained anew in its place, with the same settings and other bytes, makes it stale."""
    monkeypatch.chdir(shutil.copytree(joined, tmp_path / "project"))
    runs = {run.model: run for run in study.load("tiny").runs()}
    place, before = store.folder(runs["unet"]), store.read_record(store.folder(runs["unet"]))
    weights = place / "models" / "model.pt"
    values = torch.load(weights, weights_only=True)
    *_, last = (name for name, of_name in values.items() if of_name.shape == (3,))
    torch.save({**values, last: values[last] + 50}, weights)
    for made in ("predictions", FOLDER):
        shutil.rmtree(place / made)
    (place / "scores.csv").unlink()
    content = json.loads((place / "run.json").read_text())
    (place / "run.json").write_text(json.dumps({**content, "trained": {}}))
    running.run(runs["unet"], "phantom")
    after = store.read_record(place)
    assert after.fingerprint == before.fingerprint and after.predictions_sha256 != before.predictions_sha256
    for model, kind in (("both", FOLDER), ("vote", "predictions"), ("vote/staple", "predictions")):
        with pytest.raises(InputError, match=f"differs in .*members#{runs['unet'].id}/{kind} "):
            running.run(runs[model], "phantom")
    code, out, _ = command("plan", "tiny")
    assert code == 0 and "6 runs: 3 done, 3 stale" in out
    assert command("run-all", "tiny")[0] == 2
    assert any("3 runs were made before a change in members" in said for said in Results(study.load("tiny")).warnings)
    # A record from before checksums says of none what it was.
    for model in ("both", "vote", "vote/staple"):
        record = store.folder(runs[model]) / "run.json"
        content = json.loads(record.read_text())
        content["identity"].pop("members")
        record.write_text(json.dumps(content))
        running.run(runs[model], "phantom")


def spoil(path, kept):
    """Make a file another one: cut it short, put another in its place, or remove it."""
    if kept is None:
        path.unlink()
    else:
        path.write_bytes(kept(path))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda path: path.read_bytes()[:-100], "found [0-9a-f]{12}…"),
        (lambda path: (store.folder(Run("tiny", "la_resunet", "default", 0, 1)) / FOLDER / path.name).read_bytes(),
         "found [0-9a-f]{12}…"),
        (None, "found no such file"),
    ],
    ids=["short", "replaced", "lost"],
)  # fmt: skip
def test_probabilities_that_were_changed_are_refused_where_they_are_read(
    joined, tmp_path, monkeypatch, command, change, found
):
    monkeypatch.chdir(shutil.copytree(joined, tmp_path / "project"))
    runs = {run.model: run for run in study.load("tiny").runs()}
    path = next((store.folder(runs["unet"]) / FOLDER).iterdir()).resolve()
    spoil(path, change)
    sentence = rf"{path} is not what its run wrote: expected sha256 [0-9a-f]{{12}}…, {found}; remove its folders "
    code, _, err = command("report", "tiny")
    assert code == 2 and re.search(sentence, err)
    shutil.rmtree(store.folder(runs["both"]))
    with pytest.raises(InputError, match=sentence):
        running.run(runs["both"], "phantom")
    (store.folder(runs["unet"]) / "scores.csv").unlink()
    with pytest.raises(InputError, match=sentence):
        running.run(runs["unet"], "phantom")
    # Where all are gone, what was counted of them stands.
    shutil.rmtree(path.parent)
    running.run(runs["unet"], "phantom")
    assert store.read_record(store.folder(runs["unet"])).probabilities == {}


def test_the_networks_of_an_ensemble_by_the_mean_predict_together(joined, monkeypatch):
    monkeypatch.chdir(joined)
    assert [one.name.split("/")[-3] for one in trained.of_study("tiny", "both", None)] == MEMBERS[:2]
    with pytest.raises(InputError, match="vote/staple joins label maps: expected a model that is trained itself"):
        trained.of_study("tiny", "vote", "staple")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ensemble": ["unet", "big"]}, r"ensemble: expected models of unet, .*, found 'big'\."),
        ({"ensemble": ["unet", "both"]}, r"ensemble: expected models of unet, .*, found 'both'\."),
        ({"ensemble": ["unet", "unet"]}, "expected two or more models, each once; found unet, unet"),
        ({"ensemble": ["unet"]}, "expected two or more models, each once; found unet"),
        ({"bundle": "unetpp"}, "expected a name of its own as `bundle`, found 'unetpp' of bundles/"),
        ({"set": {"amp": False}}, "expected its members to decide set, found it set for the ensemble"),
        ({"ensemble": ["unet", "unet/sliced"]}, "expected models of one split, found patient and slice"),
        ({"ensemble": ["unet", "resnet50_classifier"]}, "found resnet50_classifier for classification"),
        ({"ensemble": ["unet", "unet/first"]}, "expected models of its folds, found unet/first without 1"),
        ({"ensemble": ["unet", "unet/two_stage"]}, "keep probabilities, for their mean, found unet/two_stage without"),
        ({"ensemble": ["unet", "unet/bare"]}, "keep probabilities, for their mean, found unet/bare without"),
        ({"by": "median"}, "by: "),
    ],
)
def test_an_ensemble_that_cannot_be_is_refused(project, changes, sentence):
    others = [
        {"bundle": "unet"}, {"bundle": "la_resunet"}, {"bundle": "resnet50_classifier"},
        {"bundle": "unet", "variant": "sliced", "split": "slice"}, {"bundle": "unet", "variant": "first", "folds": [0]},
        {"bundle": "unet", "variant": "bare", "set": {"keep_probabilities": False}},
        {"bundle": "unet", "variant": "two_stage", "stages": ["resnet50_classifier", "unet"]},
    ]  # fmt: skip
    made = {"bundle": "both", "ensemble": ["unet", "la_resunet"], **changes}
    write_study("tiny", models=[made, *others], folds=[0, 1])
    with pytest.raises(InputError, match=sentence):
        study.load("tiny")


MEAN_OF_SEEDS = {"seeds": [1, 2], "compare": {"metrics": ["dice"], "pairs": [["unet/ensemble", "la_resunet"]]}}


@pytest.mark.parametrize(
    ("declared", "changes", "mean"),
    [
        ({"models": [*TINY["models"], JOINED[0]]}, {"keep_probabilities": False}, "both"),
        ({"models": [*TINY["models"], JOINED[0]]}, {"unet:keep_probabilities": False}, "both"),
        (MEAN_OF_SEEDS, {"keep_probabilities": False}, "unet/ensemble"),
        ({**MEAN_OF_SEEDS, "set": {"keep_probabilities": False}}, {}, "unet/ensemble"),
    ],
)
def test_a_mean_of_probabilities_that_no_run_would_keep_is_refused_before_training(
    project, command, declared, changes, mean
):
    write_study("tiny", **declared)
    sets = [part for key, value in changes.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    for name in ("plan", "run-all"):
        code, out, err = command(name, "tiny", *sets)
        assert code == 2 and not out
        assert f"Study tiny: {mean} is a mean of probabilities: expected unet to keep them, found keep_prob" in err
    assert not (project / "runs/tiny").exists()


def test_probabilities_that_nothing_is_made_of_may_be_left_out(project):
    write_study("tiny", models=[*TINY["models"], JOINED[0]])
    assert study.load("tiny").runs({"la_resunet:keep_probabilities": False})
    write_study("tiny", models=[*TINY["models"], JOINED[1]])
    assert study.load("tiny").runs({"keep_probabilities": False})


def test_how_to_join_needs_what_to_join(project):
    write_study("tiny", models=[{"bundle": "unet", "by": "staple"}])
    with pytest.raises(
        InputError, match=r"unet: ensemble: expected names of models to join, as it has `by`; found none"
    ):
        study.load("tiny")


def test_label_maps_of_systems_that_join_others_can_be_joined_in_turn(project):
    """By majority; such an ensemble starts after all that it joins, and has the split of what was trained."""
    models = [
        {"bundle": "vote", "ensemble": ["la_resunet", "unet/gated"], "by": "majority"},
        {"bundle": "unet", "variant": "gated", "stages": ["resnet50_classifier", "unet"]},
        *("unet", "la_resunet", "resnet50_classifier"),
    ]
    write_study("tiny", models=[{"bundle": one} if isinstance(one, str) else one for one in models])
    declared = study.load("tiny")
    run, gated, *_ = declared.runs()
    assert run.stages == ("la_resunet/default/fold0-seed1", gated.id) and run.recipe == gated.recipe == "unet"
    assert [one.name for one in declared.trained(declared.models[0])] == ["la_resunet", "resnet50_classifier", "unet"]
    assert declared.bundles == ["unet", "la_resunet", "resnet50_classifier"]


def test_what_joins_others_starts_after_them(project, monkeypatch):
    models = [
        {"bundle": "vote", "ensemble": ["la_resunet", "unet/gated"], "by": "majority"},
        {"bundle": "unet", "variant": "gated", "stages": ["resnet50_classifier", "unet"]},
        *({"bundle": name} for name in ("unet", "la_resunet", "resnet50_classifier")),
    ]
    write_study("tiny", models=models)
    order = []

    def done(run, *_):
        order.append(run.model)
        store.folder(run).mkdir(parents=True)
        (store.folder(run) / "scores.csv").write_text("")

    monkeypatch.setattr(execute, "_run_process", done)
    outcomes = execute.execute(study.load("tiny").runs(), {}, 2, [], lambda *_: None)
    assert {outcome.state for outcome in outcomes} == {"done"}
    assert {*order[:3]} == {"unet", "la_resunet", "resnet50_classifier"} and order[3:] == ["unet/gated", "vote"]


def test_an_ensemble_by_the_mean_has_no_other_tests(project):
    write_study("tiny", models=[*TINY["models"], *JOINED[:2]], test_on={"sweep": {"noise": [0.5]}})
    assert {run.model: len(run.test_on) for run in study.load("tiny").runs()} == {
        **dict.fromkeys(MEMBERS, 1), "both": 0, "vote": 1
    }  # fmt: skip
