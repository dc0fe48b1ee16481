"""A study's declaration to runs and a selection of them; what is mistyped is refused."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.project import TINY, declared, write_study

from benchmark.base.files import WHOLE
from benchmark.base.records import InputError, Run, model_name
from benchmark.data.volumes import write_label_map
from benchmark.studies import bundle, study
from benchmark.studies import run as running

REQUIRED = ("title", "data", "folds", "seeds", "models", "compare")


def test_names_and_the_studies_of_this_repository(project):
    write_study("another")
    assert study.names() == ["another", "tiny"]


def test_runs_are_models_by_folds_by_seeds_with_their_overrides(project):
    write_study(
        "sweep",
        folds=[0, 2],
        seeds=[1, 5],
        models=[
            {"bundle": "unet"},
            {"bundle": "la_resunet", "variant": "no_fusion", "set": {"fusion": False, "amp": True}},
        ],
        set={"max_epochs": 4, "amp": False},
    )
    runs = study.load("sweep").runs({"max_epochs": 9})
    assert [run.id for run in runs] == [
        "unet/default/fold0-seed1",
        "unet/default/fold0-seed5",
        "unet/default/fold2-seed1",
        "unet/default/fold2-seed5",
        "la_resunet/no_fusion/fold0-seed1",
        "la_resunet/no_fusion/fold0-seed5",
        "la_resunet/no_fusion/fold2-seed1",
        "la_resunet/no_fusion/fold2-seed5",
    ]
    # What is said for one model wins over what is said for all, and the command line over both.
    assert runs[0].overrides == {"max_epochs": 9, "amp": False}
    assert runs[-1].overrides == {"max_epochs": 9, "amp": True, "fusion": False, "split": "patient-5"}
    assert {run.study for run in runs} == {"sweep"}
    assert study.load("sweep").folder == project / "reports" / "sweep"


def test_optional_entries_have_defaults(project):
    content = {key: value for key, value in TINY.items() if key in REQUIRED}
    (project / "reports/tiny/study.json").write_text(json.dumps(content))
    loaded = study.load("tiny")
    assert (loaded.set, loaded.deviations, loaded.check, loaded.notes) == ({}, "", {}, ())
    assert loaded.runs()[0].overrides == {}


def test_an_unknown_study_lists_the_known_ones(project):
    with pytest.raises(InputError, match="There is no study 'tiyn': expected one of tiny"):
        study.load("tiyn")


@pytest.mark.parametrize("entry", REQUIRED)
def test_a_missing_entry_is_named(project, entry):
    (project / "reports/tiny/study.json").write_text(json.dumps({k: v for k, v in TINY.items() if k != entry}))
    with pytest.raises(InputError, match=rf"study\.json: expected an entry '{entry}', found none\."):
        study.load("tiny")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": 1}, "seeds: expected a valid array, found 1"),
        ({"set": []}, r"set: expected an object, found \[\]"),
        ({"version": 2, "models": [{"bundles": "unet"}]}, r"study\.json: version: expected 1, found 2\.$"),
        ({"seed": [1]}, r"seed: expected no such entry, found \[1\]"),
        ({"models": [{"bundle": "unet"}, {"bundle": "unet"}]}, "expected models that differ in bundle or variant"),
        (
            {"models": [{"bundle": "unet"}, {"bundle": "unet", "variant": "default"}]},
            "models that differ in bundle or variant",
        ),
        ({"models": [{"bundle": "unet"}, {"bundle": "unet", "variant": "DEFAULT"}]}, "models that differ in bundle or"),
        ({"models": [{"bundle": "../unet"}]}, "models/0/bundle: expected text to match pattern"),
        ({"models": [{"bundle": "unet", "variant": "wide\n"}]}, "models/0/variant: expected text to match pattern"),
        ({"data": "../phantom"}, "data: expected text to match pattern"),
        ({"set": {"split": "slice"}}, "expected `split` as a field of the study or of a model, found it in a set"),
        ({"models": [{"bundle": "unet", "set": {"split": "slice"}}]}, "expected `split` as a field of the study"),
        ({"split": "random"}, "split: expected 'patient', 'slice' or 'published', found"),
        ({"models": [{"variant": "x"}]}, "models/0: expected an entry 'bundle', found none"),
        ({"models": ["unet"]}, r'models/0: expected an object, found "unet"\.$'),
        ({"models": []}, r"models: expected at least 1 item, found \[\]"),
        ({"folds": []}, r"folds: expected at least 1 item, found \[\]"),
        ({"seeds": []}, r"seeds: expected at least 1 item, found \[\]"),
        ({"seeds": ["1"]}, 'seeds/0: expected a valid integer, found "1"'),
        ({"set_native": {"max_epochs": 2}}, "expected a model of the track native, as set_native holds for no other"),
        ({"seeds": [2**32]}, "seeds/0: expected a number less than 4294967296, found 4294967296"),
        ({"seeds": [1, 1]}, r"seeds: expected each only once, found \[1, 1\]"),
        ({"models": [{"bundle": "unet", "set": ["amp"]}]}, r"models/0/set: expected an object, found \["),
        (
            {"models": [{"bundle": "unet", "variant": "../../x"}]},
            r"models/0/variant: expected text to match pattern .*, found ",
        ),
        ({"models": [{"bundle": "unet", "sett": {"amp": True}}]}, "models/0/sett: expected no such entry, found {"),
    ],
)
def test_what_is_mistyped_is_refused_in_one_sentence(project, change, message):
    write_study("tiny", **change)
    with pytest.raises(InputError, match=message) as found:
        study.load("tiny")
    assert "study.json" in str(found.value) and "\n" not in str(found.value)


def test_comments_change_nothing_of_a_study_nor_of_one_that_extends_it(project):
    plain = write_study("tiny", set={"max_epochs": 2}, names={"unet": "U-Net"})
    before = study.load("tiny")
    content = json.loads(plain.read_text())
    content["set"]["// max_epochs"] = "few"
    content["names"]["//"] = "none of a model"
    content["models"][0]["// why"] = "the plainest"
    plain.write_text(json.dumps({"// what": "a trial", **content}))
    assert study.load("tiny") == before and study.load("tiny").runs() == before.runs()
    path = project / "reports/tiny/small/study.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"// extends": "fewer epochs", "extends": "tiny", "title": "Small"}))
    assert study.load("tiny/small").set == {"max_epochs": 2}
    content["set"]["// max_epochs"] = 3
    plain.write_text(json.dumps(content))
    with pytest.raises(
        InputError, match=r"tiny/study\.json: // max_epochs: expected text, as keys that begin with // are"
    ):
        study.load("tiny/small")


def test_a_study_is_named_by_its_folder(project):
    (project / "reports/tiny/study.json").write_text(json.dumps({**TINY, "name": "other"}))
    with pytest.raises(InputError, match=r"study\.json: name: expected no such entry, as the folder names the study; "):
        study.load("tiny")


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_file_that_is_no_study_is_named(project, content):
    (project / "reports/tiny/study.json").write_bytes(content)
    with pytest.raises(InputError, match=r"study\.json"):
        study.load("tiny")


@pytest.fixture
def runs(project):
    write_study(
        "sweep", folds=[0, 1], seeds=[1, 10], models=[{"bundle": "unet"}, {"bundle": "unet", "variant": "wide"}]
    )
    return study.load("sweep").runs()


@pytest.mark.parametrize(
    ("conditions", "count"),
    [
        ([], 8),
        (["bundle=unet"], 8),
        (["variant=wide"], 4),
        (["fold=0", "seed=10"], 2),
        (["fold=0", "fold=1", "seed=1", "variant=default"], 2),
        (["seed=1"], 4),
    ],
)
def test_a_selection_meets_every_condition(runs, conditions, count):
    chosen = study.select(runs, conditions)
    assert len(chosen) == count
    for run in chosen:
        for key in {condition.partition("=")[0] for condition in conditions}:
            assert f"{key}={getattr(run, key)}" in conditions
    assert chosen == [run for run in runs if run in chosen]


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        (["bundle"], "Cannot select by 'bundle': expected bundle=…, variant=…, fold=…, seed=…"),
        (["epoch=1"], "Cannot select by 'epoch=1'"),
        (["seed="], "Cannot select by 'seed='"),
        (["seed=2"], "No run has seed=2: expected seed to be one of 1, 10"),
        (["bundle=unet2"], "No run has bundle=unet2: expected bundle to be one of unet"),
    ],
)
def test_a_selection_that_says_nothing_is_refused(runs, conditions, message):
    with pytest.raises(InputError, match=message):
        study.select(runs, conditions)


def test_conditions_that_no_run_meets_together(project):
    write_study("odd", models=[{"bundle": "unet"}, {"bundle": "la_resunet", "variant": "x"}])
    with pytest.raises(InputError, match="No run meets bundle=unet and variant=x together"):
        study.select(study.load("odd").runs(), ["bundle=unet", "variant=x"])


def test_a_study_that_extends_another_takes_what_it_does_not_say(project):
    (project / "reports/tiny/small").mkdir()
    path = project / "reports/tiny/small/study.json"
    path.write_text(json.dumps({"extends": "tiny", "seeds": [7], "set": {"max_epochs": 1}}))
    assert study.names() == ["tiny", "tiny/small"]
    small, whole = study.load("tiny/small"), study.load("tiny")
    assert (small.seeds, small.set, small.models) == ((7,), {"max_epochs": 1}, whole.models)
    assert small.folder == project / "reports" / "tiny" / "small"
    assert small.runs()[0].study == "tiny/small"
    (project / "reports/tiny/study.json").write_text("[]")
    with pytest.raises(InputError, match=r"tiny/study\.json: expected an object, found \[\]\.$"):
        study.load("tiny/small")
    path.write_text(json.dumps({"extends": "tini", "seeds": [7]}))
    with pytest.raises(InputError, match=r"tiny/small/study\.json: extends: expected another study, found 'tini'"):
        study.load("tiny/small")


def test_studies_that_extend_each_other_are_refused_in_one_sentence(project):
    for name, parent in {"first": "second", "second": "third", "third": "second"}.items():
        (project / "reports" / name).mkdir()
        (project / "reports" / name / "study.json").write_text(json.dumps({"extends": parent}))
    sentence = r"third/study\.json: extends: expected another study, found 'second' which extends it"
    with pytest.raises(InputError, match=rf"{sentence} \(first → second → third → second\)\.$"):
        study.load("first")
    (project / "reports/first/study.json").write_text(json.dumps({"extends": "first"}))
    with pytest.raises(InputError, match=r"first/study\.json: extends: expected another study, found 'first'\.$"):
        study.load("first")


def test_a_change_for_one_bundle_reaches_its_runs_only(project):
    gate, net = {"bundle": "resnet50_classifier"}, {"bundle": "unet"}
    joined = {"bundle": "unet", "variant": "two_stage", "stages": ["resnet50_classifier", "unet"]}
    write_study("sweep", models=[gate, net, joined], set={"amp": False})
    changes = {"unet:batch_size": 4, "batch_size": 2, "resnet50_classifier:weights": "w.pth", "loss::reduction": "sum"}
    every = {"amp": False, "batch_size": 2, "loss::reduction": "sum"}
    runs = study.load("sweep").runs(changes)
    # What is said for one bundle wins over what is said for all, also where it comes first; a system is its segmenter.
    assert [run.overrides for run in runs] == [{**every, "weights": "w.pth"}, *2 * [{**every, "batch_size": 4}]]
    assert bundle.frozen(study.load("sweep").runs({"resnet50_classifier:weights": "w.pth"})[0], "phantom")["train"][
        "weights"
    ] == "w.pth"  # fmt: skip
    with pytest.raises(InputError, match=r"Cannot set 'unett:amp': expected a bundle of the study, one of resnet50_"):
        study.load("sweep").runs({"unett:amp": True})


@pytest.mark.parametrize("key", ["split", "unet:split"])
def test_the_split_is_declared_and_not_set_on_the_command_line(project, key):
    with pytest.raises(InputError, match=r"Id 'split' cannot be set: expected it in study\.json, as the field `split`"):
        study.load("tiny").runs({key: "slice"})


@pytest.mark.parametrize(
    ("gate", "net", "found"),
    [
        ({"split": "slice"}, {}, "slice and published"),
        ({}, {"split": "slice"}, "published and slice"),
        ({"split": "patient"}, {}, "patient and published"),
    ],
)
def test_stages_of_two_splits_are_refused(project, gate, net, found):
    models = [{"bundle": "resnet50_classifier", "variant": "a", **gate}, {"bundle": "unet", "variant": "b", **net}]
    joined = {"bundle": "unet", "variant": "both", "stages": ["resnet50_classifier/a", "unet/b"]}
    write_study("staged", models=[joined, *models], split="published")
    with pytest.raises(InputError, match=rf"unet/both: stages: expected two models of one split, found {found}\."):
        study.load("staged")
    write_study("staged", models=[joined, *({**model, "split": "slice"} for model in models)])
    assert study.load("staged").stages(study.load("staged").models[0])[0].variant == "a"


def test_a_native_model_follows_its_own_recipe_before_what_is_set_for_all(project):
    path = project / "bundles/unet/configs/model.json"
    model = json.loads(path.read_text())
    path.write_text(json.dumps({**model, "native": {"learning_rate": 0.5, "batch_size": 3, "max_epochs": 99}}))
    models = [
        {"bundle": "unet"},
        {"bundle": "unet", "track": "native"},
        {"bundle": "unet", "track": "native", "variant": "short", "set": {"max_epochs": 2}},
    ]
    write_study("tracks", models=models, set={"learning_rate": 0.1, "amp": False}, set_native={"max_epochs": 5})
    runs = study.load("tracks").runs()
    assert [run.variant for run in runs] == ["default", "native", "short"]
    assert runs[0].overrides == {"learning_rate": 0.1, "amp": False}
    native = {"learning_rate": 0.5, "batch_size": 3, "amp": False}
    assert runs[1].overrides == {**native, "max_epochs": 5}
    assert runs[2].overrides == {**native, "max_epochs": 2}


def test_the_test_follows_the_number_of_seeds_unless_it_is_declared(project):
    compare = {"metrics": ["dice"]}
    for seeds, test, expected in (
        ([1], {}, "wilcoxon"),
        ([1, 2], {}, "two_level"),
        ([1, 2], {"test": "paired_t"}, "paired_t"),
    ):
        write_study("asked", seeds=seeds, compare=compare | test)
        assert study.load("asked").compare["test"] == expected


def test_a_model_is_named_without_its_default_variant():
    assert model_name("unet", "default") == "unet" == declared("unet").models[0].name
    assert model_name("la_resunet", "no_fusion") == "la_resunet/no_fusion"
    assert Run("s", "la_resunet", "no_fusion", 0, 1).model == "la_resunet/no_fusion"


@pytest.mark.parametrize(
    ("margin", "message"),
    [
        (-0.01, "compare/margin: "),
        ({"dice": "0.02"}, 'compare/margin/dice: expected a valid number, found "0.02"'),
        ({"dcie": 0.02}, "compare/margin: expected metrics of compare, dice, hd95; found 'dcie'"),
        (0.02, "compare/margin: expected one per metric, as their units differ; found 0.02"),
    ],
)
def test_a_margin_that_means_nothing_is_refused_before_anything_runs(project, margin, message):
    write_study("asked", compare={"metrics": ["dice", "hd95"], "margin": margin})
    with pytest.raises(InputError, match=message):
        study.load("asked")


@pytest.mark.parametrize(
    ("primary", "message"),
    [
        ({"metrics": ["iou"]}, "compare/primary/metrics: expected metrics of compare, dice, hd95; found 'iou'"),
        ({"pairs": [["a", "c"]]}, "compare/primary/pairs: expected pairs of compare, found a and c"),
        ({"metric": ["dice"]}, "compare/primary/metric: "),
        ({"regions": []}, "compare/primary/regions: "),
    ],
)
def test_a_primary_family_of_what_is_not_compared_is_refused_before_anything_runs(project, primary, message):
    declared = {"metrics": ["dice", "hd95"], "pairs": [["a", "b"]]}
    write_study("asked", compare={**declared, "primary": primary})
    with pytest.raises(InputError, match=message):
        study.load("asked")
    write_study("asked", compare={**declared, "primary": {"pairs": [["b", "a"]], "regions": ["WT"]}})
    assert study.load("asked").compare["primary"]["regions"] == ("WT",)


def test_a_run_scores_what_its_study_asks_for_beside_the_usual(tmp_path):
    reference, prediction = np.zeros((2, 20, 20, 1), dtype=np.uint8)
    reference[4:9, 4:9], prediction[5:9, 4:9] = 1, 1
    write_label_map(tmp_path / "P.nii.gz", prediction, np.eye(4))
    of = SimpleNamespace(patient_id="P", case_id="P")
    case = SimpleNamespace(case=of, original_label=lambda: reference, spacing=(1.0, 1.0, 1.0), slices=None)
    data = SimpleNamespace(manifest=SimpleNamespace(regions={"tumour": [1]}, lesions=None))
    ((usual,), _), ((more,), _) = (
        running._score(case, tmp_path / "P.nii.gz", data, asked) for asked in ((), ["mean_bf"])
    )
    assert list(more) == [*usual, "mean_bf"] and 0 < more["mean_bf"] < 1
    assert {name: more[name] for name in usual} == usual


def test_scores_on_request_are_known_and_not_compared(project):
    write_study("asked", compare={"metrics": ["dice"]}, scores=["mean_bf"])
    assert study.load("asked").scores == ("mean_bf",)
    write_study("asked", compare={"metrics": ["dice"]}, scores=["hd96"])
    with pytest.raises(InputError, match="scores: expected some of bf, mean_bf, found 'hd96'"):
        study.load("asked")
    write_study("asked", compare={"metrics": ["mean_bf"]})
    with pytest.raises(InputError, match="there is no metric 'mean_bf'"):
        study.load("asked")


@pytest.mark.parametrize("margin", ["Infinity", "NaN", "1e999"])
def test_a_margin_that_is_no_finite_number_is_refused(project, margin):
    path = write_study("asked", compare={"metrics": ["dice"], "margin": 12345})
    path.write_text(path.read_text().replace("12345", margin))
    with pytest.raises(InputError, match=rf"study\.json is not JSON: expected a study, found {margin}"):
        study.load("asked")


def test_a_split_reaches_the_runs_and_a_models_own_wins(project):
    models = [{"bundle": "unet"}, {"bundle": "unet", "variant": "own", "split": "patient"}]
    write_study("split", models=models, split="slice")
    loaded = study.load("split")
    assert [study.split_of(loaded, model) for model in loaded.models] == ["slice", "patient"]
    assert study.apart(loaded) == ["unet/own"]
    configs = [bundle.frozen(run, "phantom") for run in loaded.runs()]
    assert [config["train"]["split"] for config in configs] == ["slice", "patient"]
    assert [config["inference"]["split"] for config in configs] == ["slice", "patient"]


def test_each_seed_has_a_partition_of_its_own_unless_they_share_one(project):
    write_study("repeated", seeds=[1, 2, 3])
    write_study("shared", seeds=[1, 2, 3], partitions="shared")
    write_study("published", seeds=[1, 2], split="published")
    loaded = [study.load(name) for name in ("repeated", "shared", "published")]
    assert [one.splits for one in loaded] == [["patient", "patient-2", "patient-3"], ["patient"], ["published"]]
    configs = [bundle.frozen(run, "phantom")["train"] for run in loaded[0].runs() if run.fold == 0]
    assert {(config["seed"], config["split"]) for config in configs} == {
        (1, "patient"), (2, "patient-2"), (3, "patient-3")
    }  # fmt: skip
    assert {run.overrides["split"] for run in loaded[2].runs()} == {"published"}


def test_both_stages_of_a_system_are_on_the_partition_of_their_seed(project):
    models = [{"bundle": "resnet50_classifier", "variant": "gate"}, {"bundle": "unet"}]
    joined = {"bundle": "unet", "variant": "two_stage", "stages": ["resnet50_classifier/gate", "unet"]}
    write_study("staged", seeds=[2], models=[*models, joined])
    assert {run.overrides["split"] for run in study.load("staged").runs()} == {"patient-2"}


def test_reading_a_study_completes_a_report_that_a_kill_left_half_moved(project):
    whole = Path("reports/tiny") / WHOLE
    whole.mkdir()
    (whole / "report.md").write_text("new")
    assert study.load("tiny").title == "Tiny"
    assert Path("reports/tiny/report.md").read_text() == "new" and not whole.exists()


@pytest.mark.parametrize("part", ["compare", "compare/primary"])
@pytest.mark.parametrize("again", [["unet", "la_resunet"], ["la_resunet", "unet"]])
def test_a_pair_that_stands_twice_is_refused(project, part, again):
    pairs = [["unet", "la_resunet"], again]
    primary = {"primary": {"pairs": pairs}} if part == "compare/primary" else {"pairs": pairs}
    write_study("twice", compare={"metrics": ["dice"], **primary})
    with pytest.raises(
        InputError, match=f"{part}/pairs: expected each pair of two models once, found la_resunet and unet"
    ):
        study.load("twice")


def test_a_model_paired_with_itself_is_refused(project):
    write_study("self", compare={"metrics": ["dice"], "pairs": [["unet", "unet"]]})
    with pytest.raises(InputError, match="expected each pair of two models once, found unet"):
        study.load("self")
