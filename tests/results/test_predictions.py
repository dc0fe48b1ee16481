"""Comparisons of predictions that exist, from small label maps to a study that every command takes."""

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from helpers.project import REPOSITORY

import benchmark
from benchmark.base.records import InputError
from benchmark.cli import predictions
from benchmark.scoring.score_table import read
from benchmark.studies import study

MANIFEST = REPOSITORY / "data_manifests" / "brats2020.json"
CASES = [f"BraTS20_Training_00{number}" for number in range(1, 7)]


def save(path, seed=0, shift=0, only=CASES, order=(1, 2, 4)):
    """Write a folder of label maps: a tumour in each case, moved by ``shift`` where a patient's number is even."""
    core, oedema, rim = order
    for number, case in enumerate(only):
        random, labels = np.random.default_rng([seed, number]), np.zeros((16, 16, 16), np.uint8)
        at = 4 + shift * (number % 2) + int(random.integers(0, 2)) * (shift > 0)
        labels[at : at + 8, 4:12, 4:12], labels[at + 2 : at + 6, 6:10, 6:10] = oedema, core
        labels[at + 3 : at + 5, 7:9, 7 : 9 - (number % 3 == 0)] = rim
        target = path / f"{case}.nii.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), target)
    return path


def compare(sources, out, **options):
    usual = {"manifest": str(MANIFEST), "metrics": ["dice"]}
    return benchmark.compare_predictions(sources, out, **{**usual, **options})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with references, two models' label maps and their comparison, made outside a project; only to read."""
    place = tmp_path_factory.mktemp("compared")
    save(place / "truth")
    for number, name in enumerate(("one", "two")):
        save(place / name, seed=number, shift=number)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        sources = {"two": place / "two", "one": place / "one"}
        found = compare(sources, "out", reference="truth", metrics=[], margin={"dice": 0.02})
    return place, found


@pytest.fixture
def copied(made, tmp_path, monkeypatch):
    """A copy of it, as the working directory."""
    monkeypatch.chdir(shutil.copytree(made[0], tmp_path / "copy"))


@pytest.fixture
def outside(copied, monkeypatch):
    """The same, where no figures are drawn: they take most of the time."""
    monkeypatch.setattr("benchmark.results.page._draw_numbers", lambda *_: [])


def test_predictions_are_compared_outside_a_project_from_label_maps_alone(made):
    place, found = made
    assert found.folder == place / "out" and found.odd == []
    tests = found.comparisons
    assert list(tests["model_a"].unique()) == ["two"] and set(tests["metric"]) == {"dice", "hd95"}
    assert set(tests["test"]) == {"wilcoxon"} and set(tests["n_patients"]) == {6}
    one = found.summary.set_index(["model", "region", "metric"])
    assert one.loc[("one", "WT", "dice"), "mean"] == 1.0 > one.loc[("two", "WT", "dice"), "mean"]
    files = {path.name for path in found.folder.iterdir()}
    assert files > {"report.md", "report.tex", "study.json", "brats2020.json", "compared.json", "comparisons.csv"}
    assert not [path for path in found.folder.rglob(".*")]


def test_its_report_says_nothing_of_trainings_that_there_were_not(made):
    text = "".join((made[1].folder / page).read_text(encoding="utf-8") for page in ("report.md", "appendix.md"))
    for words in ("Runs:", "folds", "kept the probabilities", "Seeds are averaged", "trained here", "| reference |  |"):
        assert words not in text
    # What is known of a case that took no part.
    assert "never train on one edition" in text and "BraTS20_Training_355" not in text
    opening = (
        "Only predictions are known of these models",
        "Each model is one trained network",
        "6 patients and 6 cases",
    )
    sections = ("## Data and models", "## Ranking", "## Lesions", "## Empty masks", "figures/boxplot_dice.png")
    for words in (*opening, *sections, "Asked for in study.json: dice and hd95", "Margin 0.020"):
        assert words in text


def test_the_screen_names_the_differences_that_are_shown():
    row = {"metric": "dice", "region": "WT", "model_a": "one", "model_b": "two", "verdict": "b better"}
    rows = [{**row, "significant": number < 6} for number in range(8)]
    said = predictions._shown(pd.DataFrame(rows))
    assert (
        said.startswith("6 of 8 comparisons show a difference (dice of WT: two better; dice") and said.count("…") == 1
    )
    assert predictions._shown(pd.DataFrame(rows[6:])) == "0 of 2 comparisons show a difference."


def test_scores_are_those_of_benchmark_score_to_the_last_byte(outside, command):
    code, out, _ = command("score", "--manifest", MANIFEST, "--reference", "truth", "--prediction", "two",
                           "--name", "two", "--out", "two.csv")  # fmt: skip
    assert code == 0 and "Means over patients" in out and "Wrote two.csv: 18 rows of 6 cases." in out
    assert Path("two.csv").read_bytes() == Path("out/external/two.csv").read_bytes()


def test_a_folder_of_a_comparison_is_a_study_for_every_command_that_trains_nothing(copied, command, undrawn):
    before = Path("out/report.md").read_bytes()
    assert command("report", "out", "--figures", "svg")[0] == 0 and Path("out/report.md").read_bytes() == before
    drawing = Path("out/figures/boxplot_dice.svg")
    drawing.write_text("of other scores")
    assert command("report", "out")[0] == 0 and drawing.read_text(encoding="utf-8").startswith("<?xml")
    code, out, _ = command("explain", "out", "--bundle", "two", "--region", "WT", "--against", "one")
    assert (
        code == 0
        and "of WT, two, study out" in out.splitlines()[0]
        and "external/two.csv" in out
        and "Warning" not in out
    )
    assert command("check", "out")[0] == 2
    assert command("check", "out", "--accept")[0] == 0
    code, out, _ = command("check", "out")
    assert code == 0 and "no regression shown (external/ against baseline.csv" in out
    for name in ("plan", "run-all"):
        code, _, error = command(name, "out")
        assert code == 2 and "is not inside a benchmark project" in error
    with pytest.raises(InputError, match="The study trains nothing"):
        study.select(study.load("out").runs(), [])
    code, _, error = command("checklist", "out")
    assert code == 2 and "expected a study that trains models" in error


def test_a_comparison_is_made_again_and_nothing_else_is_overwritten(outside, command):
    save(Path("three"), shift=1)
    arguments = ["compare", "--manifest", MANIFEST, "--metrics", "dice", "--out", "out", "one=out/external/one.csv"]
    shutil.copy("out/external/one.csv", "one.csv")
    code, out, _ = command(*arguments[:-1], "one=one.csv")
    assert code == 0 and "comparisons" not in out and "Report: " in out and "HD95" not in out
    assert [path.name for path in Path("out/external").iterdir()] == ["one.csv"]
    assert not Path("out/figures/differences_dice.png").exists() and not Path("out/ranking.csv").exists()
    Path("out/figures").mkdir(exist_ok=True)
    Path("out/figures/mine.png").touch()
    code, _, error = command(*arguments[:-1], "one=one.csv")
    assert code == 2 and "figures/mine.png: expected only what compare wrote" in error
    Path("out/figures/mine.png").unlink()
    Path("out/notes.txt").write_text("mine")
    code, _, error = command(*arguments[:-1], "one=one.csv")
    assert code == 2 and "notes.txt: expected only what compare wrote" in error
    Path("out/notes.txt").unlink()
    changed = Path("out/study.json")
    changed.write_text(changed.read_text().replace("Predictions", "Mine"))
    code, _, error = command(*arguments[:-1], "one=one.csv")
    assert code == 2 and "study.json: expected it as compare wrote it" in error
    Path("filled").mkdir()
    Path("filled/x").touch()
    code, _, error = command(*[*arguments[:-2], "filled", "one=one.csv"])
    assert code == 2 and "expected an empty folder or one that compare made" in error
    assert Path("filled").is_dir() and [path.name for path in Path("filled").iterdir()] == ["x"]


def test_results_are_printed_as_json_and_progress_elsewhere(outside, command):
    asked = ["--metrics", "dice", "--margin", "0.02", "--pairs", "one:two", "one=one", "two=two"]
    given = ["--manifest", MANIFEST, "--reference", "truth", "--out", "new", "--json"]
    code, out, error = command("compare", *given, *asked)
    found = json.loads(out)
    assert code == 0 and "scoring" in error
    assert {row["region"] for row in found["comparisons"]} == {"WT", "TC", "ET"}
    assert Path(found["report"]).is_file() and found["odd"] == [] and found["ranking"][0]["model"] == "one"


def test_trainings_of_one_model_are_tested_as_methods_and_a_single_one_as_a_network(outside):
    for seed in (1, 2):
        for shift, name in enumerate(("a", "b")):
            save(Path(f"{name}{seed}"), seed=seed, shift=shift)
    sources = {"a@seed1": "a1", "a@seed2": "a2", "b@seed1": "b1", "b@seed2": "b2", "tool": "two"}
    found = compare(sources, "new", reference="truth").comparisons
    kinds = found.groupby(["model_a", "model_b"])[["test", "family"]].first()
    assert kinds.loc[("a", "b")].tolist() == ["two_level", "primary"]
    assert kinds.loc[("a", "tool")].tolist() == kinds.loc[("b", "tool")].tolist() == ["wilcoxon", "networks"]
    text = Path("new/report.md").read_text(encoding="utf-8")
    assert text.partition("## Read this first")[2].lstrip().startswith("- Two trainings of a method, hardly anything")
    assert "tool: trained once, and compared as that network" in text and "by itself over the 6 of networks" in text
    assert set(read(Path("new/external/a.csv"))["seed"]) == {1, 2}
    sources |= {"c@seed3": "a1", "c@seed4": "a2"}
    found = compare(sources, "unlike", reference="truth")
    assert "as fewer than two of their trainings share fold and seed: a and c, b and c." in (
        Path("unlike/report.md").read_text(encoding="utf-8")
    )
    assert json.loads(Path("new/study.json").read_text())["seeds"] == [0, 1, 2]


def test_folds_divide_the_cases_and_together_have_to_predict_all(outside):
    save(Path("first"), only=CASES[:3])
    save(Path("second"), only=CASES[3:5])
    sources = {"a@fold0": "first", "a@fold1": "second", "one": "one"}
    with pytest.raises(InputError, match=r"first: .* 1 of 4 have no prediction \(BraTS20_Training_006\)"):
        compare(sources, "new", reference="truth")
    assert not Path("new").exists()
    found = compare(sources, "new", reference="truth", missing="worst")
    table = read(Path("new/external/a.csv"))
    assert table.groupby("case_id")["fold"].first().tolist() == [0, 0, 0, 1, 1, 0]
    assert "a: 1 of 4 have no prediction and get the worst scores: BraTS20_Training_006." in found.odd


def test_labels_of_one_model_are_mapped(outside):
    save(Path("msd"), order=(2, 1, 4))
    found = compare({"a": "msd", "one": "one"}, "new", reference="truth")
    (said,) = found.odd
    assert said.startswith("a: The label values 1 and 2 seem") and said.endswith("with --labels a=msd.")
    assert said in Path("new/report.md").read_text(encoding="utf-8")
    found = compare({"a": "msd", "one": "one"}, "new", reference="truth", labels={"a": "msd"})
    assert found.odd == [] and set(found.summary.loc[found.summary["metric"] == "dice", "mean"]) == {1.0}
    assert study.load("new").title == "Predictions of a and one compared"


def test_patients_of_other_ids_come_from_a_table_and_their_columns_are_groups(outside):
    for name in ("truth", "one", "two"):
        for path in sorted(Path(name).iterdir()):
            path.rename(path.with_name(f"scan-{path.name[-8:]}"))
    cases = sorted(path.name.removesuffix(".nii.gz") for path in Path("truth").iterdir())
    found = compare({"one": "one", "two": "two"}, "new", reference="truth")
    assert "6 of 6 case ids, such as scan-1, do not say whose they are" in found.odd[0]
    rows = [f"{case},P{place // 2},{'HGG' if place < 4 else 'LGG'}" for place, case in enumerate(cases)]
    Path("people.csv").write_text("case_id,patient_id,grade\n" + "\n".join(rows))
    found = compare({"one": "one", "two": "two"}, "again", reference="truth", patients="people.csv")
    assert found.odd == [] and set(found.comparisons["n_patients"]) == {3}
    assert study.load("again").notes == ()
    Path("people.csv").write_text("case_id,patient_id,grade\n" + "\n".join(rows[:5]))
    found = compare({"one": "one", "two": "two"}, "again", reference="truth", patients="people.csv")
    assert found.odd[0] == "people.csv lacks 1 of 6 cases, such as scan-6: what their ids say holds."
    Path("people.csv").write_text("case_id,patient_id\nother,P1\n")
    with pytest.raises(InputError, match=r"people\.csv: expected the patients of cases such as scan-1, found none"):
        compare({"one": "one"}, "third", reference="truth", patients="people.csv")


def test_scores_against_other_references_are_not_compared(outside, command):
    save(Path("other"), shift=10)
    arguments = ["--manifest", MANIFEST, "--reference", "other", "--prediction", "two", "--name", "two"]
    assert command("score", *arguments, "--out", "two.csv")[0] == 0
    with pytest.raises(InputError, match=r"one: expected scores against the references of two\.csv, where WT of case"):
        compare({"one": "one", "two": "two.csv"}, "new", reference="truth")
    assert not Path("new").exists()


def test_a_margin_may_name_the_usual_metrics_and_a_table_of_two_trainings_is_not_one(outside):
    found = compare({"one": "one"}, "new", reference="truth", metrics=[], margin={"dice": 0.02, "hd95": 1.0})
    assert set(found.summary["metric"]) > {"dice", "hd95"} and study.load("new").compare["metrics"] == ("dice", "hd95")
    table = pd.read_csv("out/external/one.csv")
    pd.concat([table, table.assign(seed=1)]).to_csv("both.csv", index=False)
    with pytest.raises(InputError, match=r"both\.csv: expected scores of one seed, as seed 3, found \[0, 1\]"):
        compare({"a@seed3": "both.csv"}, "other", reference="truth")
    compare({"a": "both.csv"}, "other", reference="truth")
    assert json.loads(Path("other/compared.json").read_text())["reference"] == ""


def test_its_page_for_a_browser_names_the_folder_and_no_file_that_there_is_not(made):
    text = (made[1].folder / "report.html").read_text(encoding="utf-8")
    assert "benchmark explain ./out --bundle" in text and "All are in external/." in text
    assert "scores.csv" not in text and "runs/" not in text


def test_score_files_of_other_tools_join_label_maps_by_the_metrics_that_all_have(outside):
    rows = [f"{case},0.8,0.7,0.6" for case in CASES]
    Path("results.csv").write_text("id,WT_dice,TC_dice,ET_dice\n" + "\n".join(rows))
    found = compare({"mist": "results.csv", "one": "one"}, "new", reference="truth", metrics=[])
    text = Path("new/report.md").read_text(encoding="utf-8")
    assert "Not compared, as mist has no such scores: iou, sensitivity" in text
    assert set(found.comparisons["metric"]) == {"dice"} and set(found.comparisons["n_patients"]) == {6}
    with pytest.raises(InputError, match=r"results\.csv: expected scores by hd95, found none"):
        compare({"mist": "results.csv", "one": "one"}, "other", reference="truth", metrics=["hd95"])
    with pytest.raises(InputError, match=r"--labels: expected none for results\.csv, which has scores"):
        compare({"mist": "results.csv", "one": "one"}, "other", reference="truth", labels="msd")
    assert pd.read_csv("new/comparisons.csv")["model_a"].unique().tolist() == ["mist"]
    for kept, words in ((rows[:0], "scores of one case or more, found none"), (rows[:1] * 2, "_001 twice")):
        Path("results.csv").write_text("id,WT_dice,TC_dice,ET_dice\n" + "\n".join(kept))
        with pytest.raises(InputError, match=rf"results\.csv: expected .*{words}"):
            compare({"mist": "results.csv"}, "other")


def test_a_table_of_few_patients_is_named_first_with_a_way_to_leave_it_out(outside, command):
    table = pd.read_csv("out/external/two.csv")
    table[table["case_id"].isin(CASES[:2])].to_csv("few.csv", index=False)
    given = ["--manifest", MANIFEST, "--metrics", "dice", "--out", "new", "few=few.csv", "one=one"]
    code, out, _ = command("compare", "--reference", "truth", "--missing", "worst", *given)
    said = "few limits all that is compared: it has complete scores of 2 of 6 patients only"
    assert code == 0 and f"Note: {said}" in " ".join(out.split())
    assert "Note: --missing worst says nothing of few.csv, which hold scores" in out
    text = Path("new/report.md").read_text(encoding="utf-8").partition("## Read this first")[2]
    assert text.lstrip().startswith(f"- {said}") and "leave few out of the command." in text.splitlines()[2]
    shutil.copy("out/external/one.csv", "one.csv")
    code, _, err = command("compare", "--only-predicted", *given[:-1], "one=one.csv")
    assert code == 2 and "--only-predicted: expected folders of label maps, found files of scores only" in err


def test_a_comparison_among_a_projects_reports_is_in_the_page_over_all_studies(outside, command):
    Path("bundles").mkdir()
    Path("data_manifests").mkdir()
    given = ["compare", "--manifest", MANIFEST, "--metrics", "dice", "--out", "reports/new", "--reference", "truth"]
    for arguments in ([*given, "one=one", "two=two"], ["report", "new"]):
        assert command(*arguments)[0] == 0
        page = Path("reports/index.html")
        assert "new/report.html" in page.read_text(encoding="utf-8")
        page.unlink()


@pytest.mark.parametrize(
    ("sources", "options", "words"),
    [
        ({}, {}, "Nothing to compare"),
        ({"a": "nowhere"}, {}, "nowhere: expected a folder of label maps or a file of scores"),
        ({"a/b": "one"}, {}, "expected letters, digits"),
        ({"a@5": "one"}, {}, "expected NAME, NAME@seed1"),
        ({"a": "one", "A": "two"}, {}, "differ in more than capitals"),
        ({"a": "one", "a@seed0": "two"}, {}, "a is there 2 times"),
        ({"a": "one"}, {"reference": None}, "--reference: expected the folder"),
        ({"a": "one"}, {"metrics": ["dyce"]}, "there is no metric 'dyce'"),
        ({"a": "one", "b": "two"}, {"pairs": [("a", "c")]}, "expected two different models of a, b"),
        ({"a": "one"}, {"test": "guess"}, "test: expected"),
        ({"a": "one"}, {"labels": {"b": "msd"}}, "--labels b: expected one of a"),
        ({"a": "one"}, {"manifest": "brats1999"}, "brats1999 is not a known data set"),
        ({"a": "one"}, {"margin": 0.02, "metrics": ["dice", "hd95"]}, "expected one per metric"),
        ({"a": "truth"}, {}, "expected predictions in a folder of their own"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_written(outside, sources, options, words):
    with pytest.raises(InputError, match=words):
        compare(sources, "new", **{"reference": "truth", **options})
    assert not Path("new").exists()


def test_a_study_that_trains_is_taken_from_reports_only(outside):
    content = json.loads(Path("out/study.json").read_text())
    Path("other").mkdir()
    Path("other/study.json").write_text(json.dumps({**content, "models": [{"bundle": "unet"}]}))
    with pytest.raises(InputError, match="expected a study that trains models in a folder of reports/"):
        study.load("other")
    with pytest.raises(InputError, match="There is no study 'nothing': expected a folder with"):
        study.load("nothing")
