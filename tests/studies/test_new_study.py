"""A study that is declared by one command: the fewest entries, nothing of another, and no file overwritten."""

import json
from pathlib import Path

import pytest

from benchmark.base.declared import without_comments
from benchmark.studies import study
from benchmark.studies.study import Check, Compare, Study


def test_a_new_study_can_be_planned_at_once(project, command):
    code, out, err = command("study", "new", "mine", "--models", "unet, la_resunet")
    path = Path("reports/mine/study.json")
    assert (code, err) == (0, "") and out.splitlines() == [
        f"Wrote {path.resolve()}: 2 models, 1 fold, 2 seeds, 4 runs on phantom.",
        "Next: complete it; a comment says what each entry means. Then: benchmark plan mine",
    ]
    content = without_comments(path, json.loads(path.read_text(encoding="utf-8")))
    assert set(content) == {"version", "title", "data", "folds", "seeds", "models", "compare", "check"}
    assert study.load("mine").compare["test"] == "two_level"
    code, out, err = command("plan", "mine")
    assert code == 0 and out.count("pending ") == 4
    # The protocol's canvas is that of scans of 1 mm.
    assert err.count("\n") == 1 and err.startswith("warning: the canvas of 240 x 240 has ")
    before = path.read_bytes()
    code, _, err = command("study", "new", "mine", "--models", "unet,resunet")
    assert code == 2 and "mine/study.json exists" in err and path.read_bytes() == before


def test_each_entry_of_a_new_study_has_a_short_comment_before_it_and_names_what_exists(project, command):
    assert command("study", "new", "mine")[0] == 0
    content = json.loads(Path("reports/mine/study.json").read_text(encoding="utf-8"))
    fields = [Study.model_fields, Compare.__annotations__, Check.__annotations__]
    for entries, known in zip((content, content["compare"], content["check"]), fields, strict=True):
        keys = list(entries)
        comments = {key.removeprefix("// "): entries[key] for key in keys if key.startswith("//")}
        assert set(comments) <= set(known) and all("\n" not in one and len(one) < 110 for one in comments.values())
        for key in (key for key in keys if not key.startswith("//")):
            assert keys[keys.index(key) - 1] == f"// {key}"


def test_the_folds_of_a_set_that_was_not_scanned_are_those_of_its_manifest(project, command):
    assert command("study", "new", "later", "--data", "brats2021")[0] == 0
    assert study.load("later").folds == (0, 1, 2, 3, 4)


def test_a_set_that_was_scanned_and_has_no_folds_is_refused_with_the_command_that_makes_them(project, command):
    Path("data_manifests/phantom.folds.json").unlink()
    code, _, err = command("study", "new", "few")
    assert code == 2 and "make fewer: benchmark data folds phantom --k 3" in err and not Path("reports/few").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["../mine"], "name"),
        (["mine", "--data", "nothing"], "nothing"),
        (["mine", "--models", "unet,unet2"], "There is no bundle 'unet2'"),
        (["mine", "--models", "unet,unet"], "expected models that differ in bundle or variant"),
    ],
)
def test_what_cannot_be_a_study_is_not_written(project, command, arguments, sentence):
    code, _, err = command("study", "new", *arguments)
    assert code == 2 and sentence in err and len(err.splitlines()) == 1
    assert not Path("reports/mine").exists()


def test_outside_a_project_none_is_written(tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = command("study", "new", "mine")
    assert code == 2 and "is not inside a benchmark project" in err and not [*tmp_path.iterdir()]
