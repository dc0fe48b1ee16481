import pandas as pd
import pytest
from helpers.project import REPOSITORY
from helpers.synthetic_scores import histories

from benchmark.papers.comparable import forbidding
from benchmark.papers.published import FILE, load
from benchmark.results.made import made
from benchmark.results.results import Results
from benchmark.studies import study


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    monkeypatch.chdir(REPOSITORY)


def test_a_small_profile_is_read_from_what_its_runs_recorded():
    found = made(Results(study.load("deng2024/small")))
    segmenter, classifier = found["resunet_focal_tversky/assumed"], found["resnet50_classifier"]
    assert (segmenter.data, segmenter.cases, segmenter.published) == ("lgg_small", 30, 110)
    assert (segmenter.size, segmenter.split, segmenter.track) == ((128, 128), "slice", "native")
    assert segmenter.changed == ("channels", "lr_scheduler", "max_epochs", "schedule_by") and segmenter.missing == 0
    assert (segmenter.learning, segmenter.trainings) == (0, 1) and "learning rate 0.05" in segmenter.assumed
    assert (classifier.split, classifier.weights, classifier.learning, classifier.trainings) == ("patient", "", 0, 3)
    assert found["resunet_focal_tversky/two_stage"].trainings == 6
    short = made(Results(study.load("brats_small")))["unet"]
    assert (short.learning, short.trainings) == (1, 9)


def full(name, **given):
    """A full profile with every run done, on whole sets, to a plateau: nothing but its declaration is left to judge."""
    declared = study.load(name)
    flat = pd.DataFrame({"epoch": range(1, 21), "learning_rate": 0.1, "val_dice": 0.8, "val_accuracy": 0.8})
    runs = {run.id: flat.copy() for run in declared.runs()}
    known = {"histories": runs, "missing": {}, "provenance": type("None", (), {"runs": {}})}
    published = load(REPOSITORY / "reports" / name / FILE)
    results = Results(declared, **known, **given)
    counted = results.manifest.expected_cases
    results.cases = type("Whole", (), {"cases": range(counted)})
    results.configs = {
        run.model: {"max_epochs": 99, "spatial_size": [240, 240], **run.overrides} for run in declared.runs()
    }
    return published, made(results)


def test_full_profiles_give_no_verdict_that_their_facts_forbid():
    published, found = full("deng2024")
    table = published.table("Classification")
    why = {name: forbidding(published.facts(table), one) for name, one in found.items()}
    assert why["resnet50_classifier/assumed"] == ["no weights of ImageNet to start from"]
    assert why["resnet50_classifier"][1:] == ["trained by the shared recipe, the paper's by a recipe of its own"]
    assert why["resnet50_classifier/by_slice"] == why["resnet50_classifier"]
    assert forbidding(published.facts(), found["resunet_focal_tversky/assumed"]) == []
    published, found = full("hossen2025")
    assert forbidding(published.facts(), found["resunet_tversky/native"]) == ["the paper does not name its data set"]
    published, found = full("mandekar2025")
    assert forbidding(published.facts(), found["la_resunet"]) == []
    published, found = full("fozzati2024")
    assert forbidding(published.facts(), found["unet_dice_focal"]) == [
        "trained by the shared recipe, the paper's by a recipe of its own"
    ]


@pytest.mark.parametrize(
    ("began", "expected"),
    [
        ("0676ba61" + 56 * "0", "ImageNet"),
        # Any other file of these shapes, whatever its name, and runs from before this was recorded.
        ("1" + 63 * "0", "another file"),
        ("", "another file"),
    ],
)
def test_weights_that_a_run_recorded_are_those_it_began_from(began, expected):
    declared = study.load("deng2024")
    noted = {"started_from": began}
    ran = {run.id: type("Ran", (), {"overrides": {**run.overrides, "weights": "resnet50-0676ba61.pth"}, **noted})
           for run in declared.runs() if run.bundle == "resnet50_classifier"}  # fmt: skip
    assert full("deng2024")[1]["resnet50_classifier/assumed"].weights == ""
    results = Results(declared, histories=histories(), missing={}, provenance=type("Noted", (), {"runs": ran}))
    results.cases = type("Whole", (), {"cases": range(110)})
    results.configs = {}
    assert made(results)["resnet50_classifier/assumed"].weights == expected
