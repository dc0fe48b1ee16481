import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers.project import declared
from helpers.synthetic_scores import disc, histories, realistic, rows, table
from matplotlib.image import imread

from benchmark import stats
from benchmark.base import project
from benchmark.data.manifest import load_manifest
from benchmark.papers.published import load
from benchmark.report import Material, Panel, Paper, headline_table, tables, write_report
from benchmark.report.deviations import deviations, in_words
from benchmark.report.document import Bullets, Cell, Heading, Table, Text, table_to_markdown, to_markdown
from benchmark.report.evidence import plans
from benchmark.report.latex import escape, to_latex
from benchmark.report.mask_tables import notes_table, rules_table
from benchmark.report.opening import cautions
from benchmark.report.tables import comparison_table, metric_groups, pairwise_table
from benchmark.scoring.metrics import METRICS
from benchmark.studies.study import apart

BETTER = {name: metric.better for name, metric in METRICS.items()}
STUDY = {
    "name": "demo", "title": "A study of 3 models & 50% effort", "data": "phantom", "folds": [0, 1, 2], "seeds": [1, 2],
    "models": [{"bundle": "unet"}, {"bundle": "resunet_tversky"}, {"bundle": "la_resunet", "set": {"fusion": False}}],
    "set": {"max_epochs": 8}, "deviations": "It must end within ten minutes.",
    "compare": {"metrics": ["dice", "hd95"], "pairs": "all", "test": "wilcoxon", "alpha": 0.05},
}  # fmt: skip
MANIFEST = {
    "name": "phantom", "title": "Glioma phantom", "source": "phantom", "pictures": "public", "licence": "a_b",
    "labels": {"0": "background", "1": "core", "2": "oedema"}, "warnings": ["Lesions are drawn, not grown."],
}  # fmt: skip

QUICK = {**STUDY, "compare": {**STUDY["compare"], "metrics": ["dice"]}}


def panel(model="unet", rank="best", case="phantom_1"):
    truth = np.where(disc(60, (30, 35), 12), 2, 0)
    truth[disc(60, (30, 35), 6)] = 1
    image = np.where(disc(60, (30, 30), 26), 100 + np.arange(60), 0)
    return Panel(case, rank, 0.9, image, truth, np.roll(truth, 3, 0), model)


@pytest.fixture(scope="module")
def material():
    scores = realistic()
    comparisons = stats.compare(scores, STUDY["compare"], BETTER)
    folds = {"folds": [{"train": ["P00"], "validation": ["P01"], "test": ["P02"]}] * 3}
    shown = [panel(rank=rank) for rank in ("best", "median", "worst")]
    provenance = {"commit": "9f" * 20, "versions": {"torch": "2.8"}}
    ranking = stats.rank_models(stats.patient_ranks(scores, STUDY["compare"]["metrics"], BETTER))
    methods = stats.compare_methods(scores, STUDY["compare"], BETTER)
    return Material(declared(**STUDY), MANIFEST, scores, comparisons, histories(epochs=4), shown, folds,
                    provenance=provenance, ranking=ranking, methods=methods,
                    plans=plans(stats.with_models(scores), STUDY["compare"], ["dice", "hd95"], 18))  # fmt: skip


@pytest.fixture(scope="module")
def folder(material, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "demo"
    missing = {"unet/default/fold2-seed2": "failed: out of memory"}
    assert write_report(folder, replace(material, missing=missing)) == folder / "report.md"
    return folder


def hand_made():
    # b beats a in all eight patients; c is b plus 0.01 or minus 0.02, in turn: lower by 0.005, which eight cannot show.
    a = {f"P{index}": 0.6 + index / 100 for index in range(8)}
    gains = {"b": [0.2] * 8, "c": [0.21, 0.18] * 4}
    parts = [rows("a", a), rows("a", {p: 100 * (1 - v) for p, v in a.items()}, metric="hd95")]
    for model, gain in gains.items():
        values = {p: v + g for (p, v), g in zip(a.items(), gain, strict=True)}
        parts += [rows(model, values), rows(model, {p: 100 * (1 - v) for p, v in values.items()}, metric="hd95")]
    return table(*parts)


def made_comparison(pairs="all"):
    scores = hand_made()
    comparisons = stats.compare(scores, {"metrics": ["dice", "hd95"], "pairs": pairs}, BETTER)
    return comparison_table(stats.summarise(scores), comparisons, ["dice", "hd95"], METRICS)


def test_the_best_is_bold_where_higher_and_where_lower_is_better():
    found = made_comparison()
    assert found.header == ["Model", "WT", "WT"]
    assert [title for title, _ in found.groups] == ["Dice ↑", "HD95 (mm) ↓"]
    assert found.rows == [
        ["a", Cell("0.635 ± 0.024", mark="†"), Cell("36.5 ± 2.4", mark="†")],
        ["b", Cell("0.835 ± 0.024", bold=True), Cell("16.5 ± 2.4", bold=True)],
        ["c", Cell("0.830 ± 0.026"), Cell("17.0 ± 2.6")],
    ]
    assert "over all 6 declared comparisons" in found.notes[0]


def test_what_prints_like_the_best_is_bold_too():
    scores = table(rows("a", {"P0": 0.80001, "P1": 0.7}), rows("b", {"P0": 0.8, "P1": 0.7}))
    comparisons = stats.compare(scores, {"metrics": ["dice"]}, BETTER)
    found = comparison_table(stats.summarise(scores), comparisons, ["dice"], METRICS)
    assert [row[1].bold for row in found.rows] == [True, True]


def test_a_pair_that_was_not_declared_is_marked_so():
    found = made_comparison(pairs=[["b", "c"]])
    assert found.rows[0][1].mark == "‡"
    assert found.rows[2][1].mark == ""
    assert "not declared" in found.notes[0]


def test_metrics_that_were_not_declared_have_no_mark_and_say_so():
    scores = realistic()
    comparisons = stats.compare(scores, {"metrics": ["dice"]}, BETTER)
    found = comparison_table(stats.summarise(scores), comparisons, ["iou"], METRICS)
    assert {cell.mark for row in found.rows for cell in row[1:]} == {""}
    assert "no difference here was tested" in found.notes[0]


def test_ids_that_differ_are_listed_by_value_without_wiring():
    loss = {"_target_": "monai.losses.TverskyLoss", "alpha": 0.3, "network": "@network"}
    found = tables.differences_table(
        {
            "batch_size": {"a": 8, "b": 8, "c": 16},
            "loss": {"a": loss, "b": {"_target_": "torch.nn.BCELoss"}, "c": None},
            "metric": {"a": {"dice": {"pick": "$lambda x: x[0]"}}, "b": {"dice": {"pick": "$lambda x: x[1]"}}},
        }
    )
    assert found.rows == [
        ["batch_size", "c", "16"], ["", "all others", "8"],
        ["loss", "a", "TverskyLoss (alpha = 0.3)"], ["", "b", "BCELoss"], ["", "c", "none"],
        ["metric", "a", "{'dice': {'pick': '$lambda x: x[0]'}}"], ["", "b", "{'dice': {'pick': '$lambda x: x[1]'}}"],
    ]  # fmt: skip


def test_empty_masks_are_counted_with_their_rule(material):
    found = comparison_table(stats.summarise(material.scores), material.comparisons, ["dice", "hd95"], METRICS)
    assert "Of 18 cases" in found.notes[1]
    assert "WT 0, TC 0, ET 3" in found.notes[1]
    assert "HD95 0 mm if both masks are empty, the volume's diagonal if one is" in found.notes[1]
    counts = notes_table(material.scores)
    assert counts.rows == [["ET", "reference empty", "3", "0", "0"], ["ET", "both empty", "0", "3", "3"]]
    assert rules_table(["hd95"], METRICS).rows == [
        ["HD95 (mm)", "lower", "1", "0 mm", "the volume's diagonal", "the volume's diagonal"]
    ]


def test_declared_metrics_come_first_and_in_tables_of_their_own():
    assert metric_groups(["hd95"], ["dice", "iou", "accuracy", "hd95"], METRICS) == [
        ["hd95"],
        ["dice", "iou"],
        ["accuracy"],
    ]


def test_pairwise_table_names_the_winner(material):
    found = pairwise_table(material.comparisons, METRICS["dice"])
    assert len(found.rows) == 9
    by_pair = {tuple(row[:3]): row[-1] for row in found.rows}
    assert by_pair["WT", "unet", "la_resunet"] == "la_resunet better"
    assert by_pair["WT", "unet", "resunet_tversky"] == "no difference shown"


def test_markdown_of_a_small_table():
    small = Table(
        "One | two.", ["Model", "WT"], [["a_b", Cell("0.9 ± 0.1", bold=True, mark="†")]], [("Dice", 1)], ["N."]
    )
    assert table_to_markdown(small) == (
        "*One \\| two.*\n\n| Model | Dice WT |\n| --- | ---: |\n| a_b | **0.9 ± 0.1**† |\n\n<sub>N.</sub>"
    )
    assert to_markdown([Heading("T", 1), Text("x", bold=True), Bullets(["a", "b"])]) == "# T\n\n**x**\n\n- a\n- b\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50% of a_b & {c}", r"50\% of a\_b \& \{c\}"),
        ("~^\\", r"\textasciitilde{}\textasciicircum{}\textbackslash{}"),
        ("$5 #1 <2>", r"\$5 \#1 \textless{}2\textgreater{}"),
        ("0.9 ± 0.1 ↑", r"0.9 $\pm$ 0.1 $\uparrow$"),
        ("Müller, Dvořák", "Müller, Dvořák"),
        ("ﬁne 脑", "fine ?"),
    ],
)
def test_latex_escapes(text, expected):
    assert escape(text) == expected


def test_latex_table_has_booktabs_and_grouped_headers():
    text = to_latex([Heading("T & U", 1), made_comparison()])
    assert r"\title{T \& U}" in text
    assert r" & \multicolumn{1}{c}{Dice $\uparrow$} & \multicolumn{1}{c}{HD95 (mm) $\downarrow$} \\" in text
    assert r"\cmidrule(lr){2-2}\cmidrule(lr){3-3}" in text
    assert r"b & \textbf{0.835 $\pm$ 0.024} & \textbf{16.5 $\pm$ 2.4} \\" in text
    assert r"a & 0.635 $\pm$ 0.024\textsuperscript{\textdagger{}}" in text
    for part in ("table", "tabular", "document"):
        assert text.count(f"\\begin{{{part}}}") == text.count(f"\\end{{{part}}}") == 1


def test_a_long_table_goes_over_pages():
    text = to_latex([Table("Long.", ["A", "B"], [["x", "y"]] * 60)])
    assert r"\begin{longtable}{ll}" in text
    assert r"\begin{table}" not in text


def test_a_phantom_is_called_one_in_the_first_lines_and_in_every_caption(folder):
    text = (folder / "report.md").read_text()
    assert "PHANTOM DATA" in "\n".join(text.splitlines()[:4])
    captions = [line for line in text.splitlines() if line.startswith("*") and not line.startswith("**")]
    numbers = [line for line in captions if not line.startswith(("*Deviations", "*Runs", "*Where", "*What"))]
    assert len(numbers) >= 10
    assert all("PHANTOM" in line for line in numbers)
    assert "PHANTOM" in (folder / "report.tex").read_text()


def test_report_of_patients_does_not_say_phantom(material, tmp_path):
    real = replace(material, manifest={**MANIFEST, "source": "brats"}, study=declared(**QUICK), panels=(), histories={})
    assert "PHANTOM" not in write_report(tmp_path, real).read_text()


@pytest.mark.parametrize(("models", "patients"), [(1, 6), (2, 1)])
def test_a_report_of_one_model_or_one_patient_is_whole(material, tmp_path, models, patients):
    study = {**QUICK, "models": STUDY["models"][:models]}
    names = [(model["bundle"], 0.0) for model in study["models"]]
    scores = realistic(models=names, patients=patients)
    comparisons = stats.compare(scores, study["compare"], BETTER)
    one = replace(material, study=declared(**study), scores=scores, comparisons=comparisons, histories={}, panels=())
    text = write_report(tmp_path, one).read_text()
    assert not re.search(r"\bnan\b", text)
    assert ("## Declared comparisons" in text) == (models > 1)


def test_tables_read_back_from_csv_give_the_same_report(material, tmp_path):
    for name in ("scores", "comparisons"):
        getattr(material, name).to_csv(tmp_path / f"{name}.csv", index=False)
    read = {name: pd.read_csv(tmp_path / f"{name}.csv") for name in ("scores", "comparisons")}
    few = replace(material, study=declared(**QUICK), histories={}, panels=())
    first, second = (write_report(tmp_path / str(i), m).read_text() for i, m in enumerate((few, replace(few, **read))))
    assert first == second


def test_what_cannot_be_trusted_comes_first(folder):
    text = (folder / "report.md").read_text()
    first = text[text.index("## Read this first") : text.index("## Result in short")]
    for sentence in (
        "Runs without scores: 1 of 18",
        "max_epochs = 8 (all models), fusion = False (la_resunet). Reason: It must end within ten minutes.",
        "No patient is on two sides of a fold",
        "Lesions are drawn, not grown.",
    ):
        assert sentence in first
    assert "| unet/default/fold2-seed2 | failed: out of memory |" in text
    assert "| versions torch | 2.8 |" in text
    assert "| data licence | a_b |" in text


def test_a_native_model_is_not_said_to_follow_what_is_set_for_the_others():
    study = {
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
    assert "(all models)" not in said and "optimizer" not in said
    assert (
        "learning_rate = 0.01, channels = [16], the rest of its own recipe under Data and runs (nnunet/native)" in said
    )


def test_distances_of_pictures_are_in_pixels(material, tmp_path):
    pictures = {**MANIFEST, "source": "lgg", "unit": "pixels"}
    few = replace(material, manifest=pictures, panels=(), histories={})
    text = write_report(tmp_path, few).read_text()
    assert "HD95 (pixels)" in text and "0 pixels" in text
    assert not re.search(r"\bmm\b", text)


def test_every_set_whose_pixels_have_no_known_size_says_so():
    for path in project.manifests().glob("*.json"):
        if "." not in path.stem:
            known = load_manifest(path.stem)
            unknown = any("do not say how large a pixel is" in warning for warning in known.warnings)
            assert known.unit == ("pixels" if unknown else "mm"), path.stem


@pytest.mark.parametrize("pictures", ["public", "private"])
def test_the_sequences_of_a_subject_are_drawn_where_pictures_may_be(material, tmp_path, pictures):
    published = load(project.reports() / "mandekar2025" / "published.json")
    one = panel()
    shown = [replace(one, sequences={name: one.image for name in ("T1", "T1c", "T2", "FLAIR")})]
    paper = Paper(published, material.scores, material.comparisons)
    more = replace(material, study=declared(**QUICK), histories={}, panels=shown, paper=paper)
    more = replace(more, manifest={**MANIFEST, "pictures": pictures})
    text = write_report(tmp_path / "report", more, tmp_path / "private").read_text()
    place = tmp_path / ("report/figures" if pictures == "public" else "private") / "paper_fig_1.png"
    height, width = imread(place).shape[:2]
    assert width > 3 * height
    assert len(list(tmp_path.rglob("paper_fig_1.png"))) == 1
    assert ("(figures/paper_fig_1.png)" in text) == (pictures == "public")
    assert ("runs/demo/figures/paper_fig_1.png" in text) == (pictures == "private")


def test_few_patients_one_seed_and_leaks_are_said(material):
    scores = realistic(patients=4, seeds=(1,))
    small = replace(
        material,
        study=declared(**{**STUDY, "seeds": [1], "folds": [0]}),
        scores=scores,
        comparisons=stats.compare(scores, STUDY["compare"], BETTER),
        folds={"folds": [{"train": ["P1"], "validation": ["P2"], "test": ["P1"]}, {}]},
    )
    text = " ".join(cautions(small))
    assert "4 patients are too few for any comparison to come out significant" in text
    assert "smallest possible p is 0.125" in text
    assert "One seed only" in text
    assert "LEAK: 1 patients" in text
    honest = replace(small, folds={"folds": [{"train": ["P1"], "test": ["P2"]}, {}]})
    assert "Only 1 of 2 folds were run" in " ".join(cautions(honest))


def test_no_report_says_that_patients_stay_apart_where_nobody_knows_them(material):
    scores = realistic()
    pictures = scores.assign(patient_id=scores["case_id"])
    manifest = {**MANIFEST, "source": "coco"}
    unknown = " ".join(cautions(replace(material, manifest=manifest, scores=pictures)))
    assert "No patient is on two sides" not in unknown
    assert "Whether a patient is on two sides of a fold cannot be known: nothing says whose each picture is." in unknown
    named = scores.assign(patient_id="patient_" + scores["patient_id"])
    for known in (replace(material, manifest=manifest, scores=named), replace(material, scores=pictures)):
        text = " ".join(cautions(known))
        assert "No patient is on two sides of a fold" in text and "cannot be known" not in text


def test_a_system_of_two_stages_is_of_its_segmenters_split():
    parts = [{"bundle": name, "variant": "by_slice", "split": "slice"} for name in ("gate", "net")]
    leaky = {"bundle": "net", "variant": "both_by_slice", "stages": ["gate/by_slice", "net/by_slice"]}
    honest = {"bundle": "net", "variant": "both", "stages": ["gate", "net"]}
    models = [leaky, honest, *parts, {"bundle": "gate"}, {"bundle": "net"}]
    assert apart(declared(*models)) == ["net/both_by_slice", "gate/by_slice", "net/by_slice"]
    native = [{"bundle": "net"}, {"bundle": "net", "track": "native", "split": "patient"}]
    assert apart(declared(*native, split="slice")) == ["net/native"]


def test_figures_are_drawn_small_and_named_in_both_reports(folder):
    names = {path.name for path in (folder / "figures").iterdir()}
    assert names == {
        *("boxplot_dice.png", "boxplot_hd95.png", "differences_dice.png", "differences_hd95.png"),
        *("training_curves.png", "panels_unet.png", "critical_differences_dice.png"),
    }
    for name in names:
        path = folder / "figures" / name
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert 5_000 < path.stat().st_size < 300_000
        assert f"(figures/{name})" in (folder / "report.md").read_text()
        assert f"{{figures/{name}}}" in (folder / "report.tex").read_text()


def test_private_pictures_stay_out_of_the_report(material, tmp_path):
    real = replace(material, manifest={**MANIFEST, "pictures": "private"}, study=declared(**QUICK), histories={})
    text = write_report(tmp_path / "report", real, private_figures=tmp_path / "private").read_text()
    assert "panels" not in text
    assert not list((tmp_path / "report").rglob("panels*"))
    assert (tmp_path / "private" / "panels_unet.png").is_file()


def test_overlay_shows_labels_and_leaves_the_image_elsewhere():
    from benchmark.report.figures import _brain_box, _painted

    one = panel()
    painted = _painted(np.full((60, 60), 0.5), one.truth, {1: "#FF0000", 2: "#0000FF"})
    assert painted[0, 0].tolist() == [0.5, 0.5, 0.5]
    assert painted[30, 35].tolist() == pytest.approx([0.225 + 0.55, 0.225, 0.225])
    assert painted[30, 45].tolist() == pytest.approx([0.225, 0.225, 0.225 + 0.55])
    assert _brain_box(one) == (slice(2, 59), slice(2, 59))


def test_headline_is_a_small_table_with_bold_and_source(material):
    text = headline_table(material.scores, material.comparisons, METRICS, phantom=True)
    assert text.startswith("*PHANTOM data, not patients. Dice by model and region, mean ± SD over 18 patients.*")
    assert "| Model | Dice ↑ WT | Dice ↑ TC | Dice ↑ ET |" in text
    (best,) = [line for line in text.splitlines() if line.startswith("| la_resunet")]
    assert best.count("**") == 6
    assert "HD95" not in text


def test_reports_are_the_same_when_written_again(material, folder):
    before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.suffix in (".md", ".tex", ".png")}
    write_report(folder, replace(material, missing={"unet/default/fold2-seed2": "failed: out of memory"}))
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


def test_statistics_and_reports_load_without_torch_and_without_matplotlib():
    code = (
        "import sys, benchmark.stats, benchmark.report, benchmark.results.check;"
        "print(sorted({'torch', 'monai', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
