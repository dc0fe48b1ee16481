import re
import shutil
import subprocess
from dataclasses import replace

import pandas as pd
import pytest
from helpers.project import declared
from helpers.results import MANIFEST, QUICK, STUDY, demo, pages_text, panel
from helpers.synthetic_scores import histories, realistic, rows, table
from matplotlib.image import imread

from benchmark.base import project
from benchmark.data.folds import Sides
from benchmark.data.manifest import load_manifest
from benchmark.papers.published import load
from benchmark.papers.values import Paper
from benchmark.results.opening import cautions, deviations, findings, in_words
from benchmark.results.page import write
from benchmark.results.results import BETTER
from benchmark.scoring.counts import SLICE
from benchmark.scoring.metrics import COUNTS, LESION_COUNTS
from benchmark.stats.compare import compare
from benchmark.stats.patients import with_models
from benchmark.studies.study import apart

MISSING = {"unet/default/fold2-seed2": "failed: out of memory"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "demo"
    assert write(demo(missing=MISSING), folder) == folder / "report.md"
    return folder


def test_a_phantom_is_called_one_in_the_first_lines_and_in_every_caption(folder):
    text = pages_text(folder)
    assert "PHANTOM DATA" in "\n".join(text.splitlines()[:4])
    captions = [line for line in text.splitlines() if line.startswith("*") and not line.startswith("**")]
    numbers = [line for line in captions if not line.startswith(("*Deviations", "*Runs", "*Where", "*Value"))]
    assert len(numbers) >= 10
    assert all("PHANTOM" in line for line in numbers)
    assert "PHANTOM" in (folder / "report.tex").read_text()


def test_report_of_patients_does_not_say_phantom(tmp_path, undrawn):
    real = demo(QUICK, {**MANIFEST, "source": "brats"}, panels=(), histories={})
    assert "PHANTOM" not in pages_text(write(real, tmp_path).parent)


@pytest.mark.parametrize(("models", "patients"), [(1, 6), (2, 1)])
def test_a_report_of_one_model_or_one_patient_is_whole(tmp_path, undrawn, models, patients):
    study = {**QUICK, "models": STUDY["models"][:models]}
    names = [(model["bundle"], 0.0) for model in study["models"]]
    scores = realistic(models=names, patients=patients)
    text = pages_text(write(demo(study, scores=scores, histories={}, panels=()), tmp_path).parent)
    assert not re.search(r"\bnan\b", text)
    assert ("## Declared comparisons" in text) == (models > 1)


def test_a_gated_metric_is_said_to_be_so(tmp_path, undrawn):
    study = {**STUDY, "compare": {**STUDY["compare"], "primary": {"regions": ["WT"]}}}
    text = write(demo(study, histories={}, panels=()), tmp_path).read_text()
    assert "HD95: 0 of 9 declared comparisons show a difference. 9 of them are gated, and the gate is shut" in text
    assert "Holm's correction over the 3 primary comparisons, and over the 15 others only if all primary" in text


def test_scores_on_request_are_not_compared_and_cost_no_patient():
    scores = realistic()
    asked = scores[(scores["metric"] == "dice") & (scores["bundle"] == "unet")].assign(metric="mean_bf")
    plain, found = (demo(QUICK, every=with_models(every)) for every in (scores, pd.concat([scores, asked])))
    assert found.own.reset_index(drop=True).equals(plain.own.reset_index(drop=True))
    assert found.rows("unet")["metric"].eq("mean_bf").sum() == len(asked)


def test_tables_read_back_from_csv_give_the_same_report(tmp_path, undrawn):
    few = demo(QUICK, histories={}, panels=())
    for name in ("scores", "comparisons"):
        getattr(few, name).to_csv(tmp_path / f"{name}.csv", index=False)
    scores, comparisons = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("scores", "comparisons"))
    scores = with_models(scores.drop(columns="model"))
    again = demo(QUICK, scores=scores, comparisons=comparisons, histories={}, panels=())
    first, second = (pages_text(write(results, tmp_path / str(i)).parent) for i, results in enumerate((few, again)))
    assert first == second


def test_what_cannot_be_trusted_comes_first(folder):
    text = pages_text(folder)
    first = text[text.index("## Read this first") : text.index("## Result in short")]
    for sentence in (
        "Runs without scores: 1 of 18",
        "max_epochs = 8 (all models); what single models change is in the appendix. Reason: It must end within ten",
        "No patient is on two sides of a fold",
        "Lesions are drawn, not grown.",
    ):
        assert sentence in first
    assert "| unet/default/fold2-seed2 | failed: out of memory |" in text
    assert "| versions torch | 2.8 |" in text
    assert "| data licence | a_b |" in text


def test_false_lesions_are_said_where_there_is_more_than_one_in_a_patient():
    none, models, patients = dict.fromkeys(LESION_COUNTS, 0), ("unet", "la_resunet"), ("P1", "P2")
    rows = [
        {**none, "model": model, "patient_id": patient, "case_id": patient, "region": region,
         "lesion_fp": (2 + number) * (model == "unet") if region == "ET" else 1}
        for model in models for number, patient in enumerate(patients) for region in ("WT", "ET")
    ]  # fmt: skip
    said = [text for text in cautions(demo(lesions=pd.DataFrame(rows))) if "false lesion" in text]
    assert said == ["More than one false lesion per patient, of which Dice says little: unet (ET 2.5) (means by BraTS "
                    "2023's rule; appendix: Lesions)."]  # fmt: skip


def test_one_model_is_not_called_the_highest():
    scores = realistic()
    (first, *_) = findings(demo(scores=scores[scores["bundle"] == "unet"]))
    assert first.startswith("WT: mean Dice of unet, 0.") and first.endswith(").")


def test_what_a_run_keeps_is_no_deviation():
    found = deviations(declared("unet", set={"keep_probabilities": False, "max_epochs": 3}), {})
    assert [one.key for one in found] == ["max_epochs"]


@pytest.mark.parametrize(("lacking", "said"), [(1, "1 model it"), (2, "2 models it")])
def test_models_without_scores_are_counted_as_what_could_not_be_tested(lacking, said):
    compared = ["unet", "resunet_tversky", "la_resunet", "nnunet", "unetpp"][: 3 + lacking]
    scores = with_models(realistic())
    tests = compare(scores, QUICK["compare"], BETTER, compared)
    assert f" Against {said} could not be tested." in findings(demo(QUICK, scores=scores, comparisons=tests))[0]


def test_equivalence_on_few_patients_is_said_with_whom_it_may_have_missed():
    alike = [("unet", 0.0), ("resunet_tversky", 0.0)]
    for margin, there in ((0.5, True), (0.0001, False)):
        study = {**QUICK, "models": STUDY["models"][:2], "compare": {**QUICK["compare"], "margin": margin}}
        found = cautions(demo(study, scores=realistic(models=alike, patients=4)))
        # A kind of patient that is 52.7 % of all is absent from 4 in one of twenty samples.
        said = (
            "Equivalent or no worse on 4 patients: a kind of patient that is up to 53 % of all may not be among them."
        )
        assert (said in found) == there


def test_a_native_model_is_not_said_to_follow_what_is_set_for_the_others():
    study = {
        **STUDY,
        "models": [
            {"bundle": "unet"}, {"bundle": "nnunet"}, {"bundle": "nnunet", "variant": "native", "track": "native"},
            {"bundle": "unet", "variant": "wide", "set": {"channels": [64]}},
        ],
        "set": {"learning_rate": 0.001, "max_epochs": 3, "channels": [16]}, "set_native": {"max_epochs": 3},
    }  # fmt: skip
    sgd = {"_target_": "torch.optim.SGD", "momentum": 0.99, "lr": "@learning_rate"}
    run = {
        "learning_rate": {"unet": 0.001, "nnunet": 0.001, "nnunet/native": 0.01, "unet/wide": 0.001},
        "optimizer": {"unet": {"_target_": "torch.optim.Adam"}, "nnunet": {"_target_": "torch.optim.Adam"},
                      "nnunet/native": sgd, "unet/wide": {"_target_": "torch.optim.Adam"}},
        "channels": {"unet": [16], "nnunet": [16], "nnunet/native": [16], "unet/wide": [64]},
    }  # fmt: skip
    found = deviations(declared(**study), run)
    assert [row[:3] for row in found] == [
        ("all models of the identical track", "learning_rate", "0.001"),
        ("all models of the identical track", "max_epochs", "3"),
        ("all models of the identical track", "channels", "[16]"),
        ("all models of the native track", "max_epochs", "3"),
        ("nnunet/native", "learning_rate", "0.01"),
        ("nnunet/native", "optimizer", "SGD (momentum = 0.99)"),
        ("nnunet/native", "channels", "[16]"),
        ("unet/wide", "channels", "[64]"),
    ]
    said = in_words(found)
    assert said == (
        "learning_rate, max_epochs, channels (values by track in the appendix); what single models change is in the "
        "appendix"
    )


def test_distances_of_pictures_are_in_pixels(tmp_path, undrawn):
    pictures = {**MANIFEST, "source": "lgg", "unit": "pixels"}
    text = pages_text(write(demo(manifest=pictures, panels=(), histories={}), tmp_path).parent)
    assert "HD95 (pixels)" in text and "0 pixels" in text
    assert not re.search(r"\bmm\b", text)


def test_every_set_whose_pixels_have_no_known_size_says_so():
    for path in project.manifests().glob("*.json"):
        if "." not in path.stem:
            known = load_manifest(path.stem)
            unknown = any("do not say how large a pixel is" in warning for warning in known.warnings)
            assert known.unit == ("pixels" if unknown else "mm"), path.stem


@pytest.mark.parametrize("pictures", ["public", "private"])
def test_the_sequences_of_a_subject_are_drawn_where_pictures_may_be(tmp_path, monkeypatch, pictures):
    monkeypatch.setattr("benchmark.results.page._draw_numbers", lambda *_: [])
    published = load(project.reports() / "mandekar2025" / "published.json")
    one = panel()
    shown = [replace(one, sequences={name: one.image for name in ("T1", "T1c", "T2", "FLAIR")})]
    results = demo(QUICK, {**MANIFEST, "pictures": pictures}, histories={}, panels=shown)
    results.paper = Paper(published, results.scores, results.comparisons)
    text = write(results, tmp_path / "report", tmp_path / "private").read_text()
    place = tmp_path / ("report/figures" if pictures == "public" else "private") / "paper_fig_1.png"
    height, width = imread(place).shape[:2]
    assert width > 3 * height
    assert len(list(tmp_path.rglob("paper_fig_1.png"))) == 1
    assert ("(figures/paper_fig_1.png)" in text) == (pictures == "public")
    assert ("runs/demo/figures/paper_fig_1.png" in text) == (pictures == "private")


def sides(train, test):
    return Sides(train=(train,), validation=(), test=(test,))


def test_few_patients_one_seed_and_leaks_are_said():
    study, scores = {**STUDY, "seeds": [1], "folds": [0]}, realistic(patients=4, seeds=(1,))
    small = demo(study, scores=scores, folds=[(sides("P1", "P1"), sides("P1", "P2"))])
    text = " ".join(cautions(small))
    assert "4 patients are too few for any comparison to come out significant" in text
    assert "smallest possible p is 0.125" in text
    assert "One seed only" in text
    assert "LEAK: 1 patients" in text
    honest = demo(study, scores=scores, folds=[(sides("P1", "P2"), sides("P2", "P1"))])
    assert "Only 1 of 2 folds were run: not every patient was tested." in " ".join(cautions(honest))


def test_a_patient_on_two_sides_of_any_partition_is_a_leak():
    clean, leaking = (sides("P1", "P2"), sides("P2", "P1")), (sides("P1", "P2"), sides("P2", "P2"))
    text = " ".join(cautions(demo({**STUDY, "folds": [0]}, folds=[clean, leaking])))
    assert "LEAK: 1 patients are on two sides of a fold" in text
    text = " ".join(cautions(demo({**STUDY, "folds": [0]}, folds=[clean, clean])))
    assert "Only 1 of 2 folds were run: not every patient was tested by each seed." in text


def test_no_report_says_that_patients_stay_apart_where_nobody_knows_them():
    scores = realistic()
    pictures = scores.assign(patient_id=scores["case_id"])
    manifest = {**MANIFEST, "source": "coco"}
    unknown = " ".join(cautions(demo(manifest=manifest, scores=pictures)))
    assert "No patient is on two sides" not in unknown
    assert "Whether a patient is on two sides of a fold cannot be known: nothing says whose each picture is." in unknown
    named = scores.assign(patient_id="patient_" + scores["patient_id"])
    for known in (demo(manifest=manifest, scores=named), demo(scores=pictures)):
        text = " ".join(cautions(known))
        assert "No patient is on two sides of a fold" in text and "cannot be known" not in text


def test_networks_that_were_still_learning_and_classifiers_that_learned_nothing_are_named(tmp_path, undrawn):
    (said,) = (text for text in cautions(demo()) if text.startswith("Not trained to a plateau"))
    assert "unet (6 of 6 runs), resunet_tversky (2 of 6 runs), la_resunet (4 of 6 runs)" in said
    epochs = {name: {"max_epochs": 300} for name in ("unet", "resunet_tversky", "la_resunet")}
    assert not any("plateau" in text for text in cautions(demo(configs=epochs, histories=histories(epochs=20))))
    ended = {run: each.assign(learning_rate=0.0) for run, each in histories(epochs=10).items()}
    rising = demo(configs={name: {"max_epochs": 10} for name in epochs}, histories=ended)
    (said,) = (text for text in cautions(rising) if "still rising" in text)
    assert said.startswith("The schedule ended while validation Dice was still rising: unet (6 of 6 runs)")
    page = pages_text(write(rising, tmp_path).parent)
    assert (
        "How trainings ended: unet, the schedule ended while validation Dice was still rising in 6 of 6 runs; " in page
    )
    assert (
        "resunet_tversky, the schedule ended while validation Dice was still rising in 2, early stopping in 4" in page
    )
    for right, named in ((40, True), (41, False)):
        counts = zip(COUNTS, (right - 40, 0, 60 - right, 40), strict=True)
        slices = table(*(rows("unet", {"P1/a": value}, metric=name, region=SLICE) for name, value in counts))
        every = pd.concat([with_models(realistic()), with_models(slices)], ignore_index=True)
        assert any("unet has not learned" in text for text in cautions(demo(every=every))) == named


def test_a_system_of_two_stages_is_of_its_segmenters_split():
    parts = [{"bundle": name, "variant": "by_slice", "split": "slice"} for name in ("gate", "net")]
    leaky = {"bundle": "net", "variant": "both_by_slice", "stages": ["gate/by_slice", "net/by_slice"]}
    honest = {"bundle": "net", "variant": "both", "stages": ["gate", "net"]}
    models = [leaky, honest, *parts, {"bundle": "gate"}, {"bundle": "net"}]
    assert apart(declared(*models)) == ["net/both_by_slice", "gate/by_slice", "net/by_slice"]
    native = [{"bundle": "net"}, {"bundle": "net", "variant": "native", "track": "native", "split": "slice"}]
    assert apart(declared(*native)) == ["net/native"]


def test_figures_are_drawn_small_and_named_in_both_reports(folder):
    names = {path.name for path in (folder / "figures").iterdir()}
    assert names == {
        *("boxplot_dice.png", "boxplot_hd95.png", "differences_dice.png", "differences_hd95.png"),
        *("training_curves.png", "panels_unet.png", "critical_differences_dice.png", "training_sets_dice.png"),
    }
    for name in names:
        path = folder / "figures" / name
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert 5_000 < path.stat().st_size < 300_000
        assert f"(figures/{name})" in pages_text(folder)
        assert f"{{figures/{name}}}" in (folder / "report.tex").read_text()


def test_the_report_of_three_models_is_short_and_its_appendix_has_the_rest(folder):
    report = (folder / "report.md").read_text()
    assert len(report.splitlines()) <= 150
    headings = re.findall("^## (.+)$", report, flags=re.MULTILINE)
    assert headings == [
        *("Read this first", "Result in short", "Data and runs", "Comparison", "Declared comparisons"),
        *("Figures", "Appendix"),
    ]
    appendix = (folder / "appendix.md").read_text()
    rest = re.findall("^## (.+)$", appendix, flags=re.MULTILINE)
    assert {"Ranking", "Sensitivity to the method", "Further figures", "Provenance"} <= set(rest)
    assert not set(rest) & set(headings) and all(f"[{name}](appendix.md#" in report for name in rest)


@pytest.mark.parametrize(("folds", "drawn"), [(3, True), (1, False)])
def test_the_difference_by_training_set_is_drawn_with_one_seed_too(tmp_path, undrawn, folds, drawn):
    one = demo(QUICK, scores=realistic(seeds=(1,), folds=folds), histories={}, panels=())
    assert one.methods is None
    write(one, tmp_path)
    assert (tmp_path / "figures/training_sets_dice.png").exists() == drawn


def test_private_pictures_stay_out_of_the_report(tmp_path, undrawn):
    real = demo(QUICK, {**MANIFEST, "pictures": "private"}, histories={})
    text = pages_text(write(real, tmp_path / "report", private_figures=tmp_path / "private").parent)
    assert "panels" not in text
    assert not list((tmp_path / "report").rglob("panels*"))
    assert (tmp_path / "private" / "panels_unet.png").is_file()


def test_reports_are_the_same_when_written_again(folder):
    before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
    write(demo(missing=MISSING), folder)
    assert {path: path.read_bytes() for path in before} == before
    assert not [path for path in folder.rglob("*") if path.name.startswith(".")]


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_report_tex_compiles(folder, tmp_path):
    work = shutil.copytree(folder, tmp_path / "work")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (work / "report.pdf").stat().st_size > 50_000
    assert "Overfull" not in done.stdout
