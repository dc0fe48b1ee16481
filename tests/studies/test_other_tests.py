"""Other tests of finished runs: on another set and on corrupted images, declared, resumed, checked and reported."""

import json

import pandas as pd
import pytest
from helpers.project import write_study
from helpers.results import pages_text
from monai.bundle import ConfigParser

from benchmark.base.records import InputError
from benchmark.data.manifest import data_folder
from benchmark.scoring import score_table
from benchmark.studies import bundle, other_tests, study

RUN = "resunet_tversky/default/fold0-seed1"
FOLDER = f"runs/tiny/{RUN}"
ONLY = ("--select", "bundle=resunet_tversky")


def declare(test_on, **changed):
    write_study("tiny", test_on=test_on, **changed)


def test_a_finished_study_is_tested_on_another_set_and_on_corrupted_images(finished, command, here, undrawn):
    def there(name):
        return score_table.read(finished / FOLDER / "external" / name / "scores.csv")

    assert command("data", "scan", "phantom", data_folder("phantom"), "--name", "twin")[0] == 0
    before = {name: (finished / "reports/tiny" / name).read_bytes() for name in ("scores.csv", "comparisons.csv")}
    declare({"sets": ["twin"], "sweep": {"missing": ["T1c"], "noise": [1e-4]}})
    _, out, _ = command("plan", "tiny", *ONLY)
    assert out.startswith(f"pending: test_on {RUN}")
    assert command("run-all", "tiny", *ONLY, "--jobs", "1")[0] == 0
    assert command("plan", "tiny", *ONLY)[1].startswith("done ")
    # The twin has the same scans: its scores of the patients of the run's test side are the run's own.
    own, twin = score_table.read(finished / FOLDER / "scores.csv"), there("twin")
    assert own["tp"].sum() > 0 and twin["case_id"].nunique() == 9 > own["case_id"].nunique()
    pd.testing.assert_frame_equal(twin[twin["case_id"].isin(own["case_id"])].reset_index(drop=True), own)
    assert sorted(there("missing-T1c")["case_id"]) == sorted(own["case_id"])
    report = pages_text(finished / "reports/tiny")
    assert "LEAK: 8 of 8 patients of twin seem to be in phantom too (8 by the same id, 8 by the same file)" in report
    assert "2 of 3 runs with scores were not tested on twin." in report
    assert "## Tested elsewhere" in report and (finished / "reports/tiny/figures/sweep_dice.png").exists()
    rows = pd.read_csv(finished / "reports/tiny/other_tests.csv")
    assert rows["interval"].tolist() == ["two samples"] * 6 + ["paired"] * 12
    assert {name: (finished / "reports/tiny" / name).read_bytes() for name in before} == before
    committed = score_table.read(finished / "reports/tiny/scores.twin.csv")
    pd.testing.assert_frame_equal(committed, twin)
    recorded = json.loads((finished / "reports/tiny/provenance.json").read_text())["test_on"]
    assert {name: test["runs"] for name, test in recorded.items()} == {"twin": 1, "missing-T1c": 1, "noise-0.0001": 1}
    check_what_was_changed(finished, command)


def check_what_was_changed(project, command):
    """Scores and predictions that are not those that were made are refused; what was removed is made again."""
    place = project / FOLDER / "external" / "twin"
    scores, text = place / "scores.csv", (place / "scores.csv").read_text()
    scores.write_text(text.replace("Phantom_008", "Phantom_009"))
    code, _, err = command("report", "tiny")
    assert code == 2 and f"{scores} is not what its run wrote" in err
    scores.unlink()
    prediction = next((place / "predictions").iterdir())
    kept = prediction.read_bytes()
    prediction.write_bytes(b"other")
    code, _, err = command("run", "tiny", RUN)
    assert code == 2 and "predictions is not what its run wrote" in err
    prediction.write_bytes(kept)
    assert command("run", "tiny", RUN)[0] == 0 and scores.read_text() == text
    # Another list of cases is another test.
    path = project / "data_manifests" / "twin.cases.json"
    listed = path.read_text()
    lines = [line for line in listed.splitlines() if "Phantom_001_1" not in line]
    path.write_text("\n".join(lines))
    code, _, err = command("run-all", "tiny", *ONLY)
    assert code == 2 and f"{place} holds a run with another fingerprint" in err and "cases#Phantom_001_1" in err
    path.write_text(listed)
    # What is no longer declared does not stay beside the scores.
    declare({"sweep": {"missing": ["T1c"]}})
    assert command("report", "tiny")[0] == 0
    assert sorted(path.name for path in (project / "reports/tiny").glob("scores*")) == [
        "scores.csv", "scores.missing-T1c.csv",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("test_on", "said"),
    [
        ({"sets": ["lgg"]}, "sets: expected the modalities of phantom, T1, T1c, T2, FLAIR, found in lgg "),
        ({"sets": ["tumor2146"]}, "expected the modalities of phantom"),
        ({"sets": ["nowhere"]}, "nowhere is not a known data set"),
        ({"sets": ["phantom"]}, "sets: expected sets other than phantom, found it"),
        ({"sweep": {"missing": ["T9"]}}, "sweep/missing: expected of T1, T1c, T2, FLAIR, found 'T9'"),
        ({"sweep": {"noise": ["much"]}}, "sweep/noise: expected numbers, found 'much'"),
        ({"sweep": {"noise": [0]}}, "expected a number greater than 0, found 0"),
        ({"sweep": {"shift": [0.5]}}, "sweep/shift: expected whole voxels, found 0.5"),
        ({"sweep": {"blur": [1, 1.0]}}, "expected each test only once, found 'blur-1' again"),
        ({"sweep": {"fog": [1]}}, "test_on/sweep/fog: "),
    ],
)
def test_what_cannot_be_tested_is_refused_in_a_sentence(project, test_on, said):
    declare(test_on)
    with pytest.raises(InputError) as error:
        study.load("tiny")
    assert said in str(error.value)


def test_regions_of_another_edition_match_by_their_names(project):
    declare({"sets": ["brats2023"]})
    (test,) = study.load("tiny").other_tests
    # Networks of a set that writes ET as 4 write it as 3 there.
    config = bundle.compose("unet")["inference"]
    parser = ConfigParser(config)
    parser.update(other_tests.overrides(test, config))
    orders = [
        parser.get_parsed_content(f"handlers::{index}::regions_class_order")
        for index, handler in enumerate(config["handlers"])
        if handler["_target_"].endswith("LabelMapWriter")
    ]
    assert orders == [(2, 1, 3)] and parser.get_parsed_content("data").manifest.regions_class_order == (2, 1, 4)
