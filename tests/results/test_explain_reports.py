"""What the committed reports print is followed to its rows."""

import functools
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.project import REPOSITORY
from helpers.results import pages_text

from benchmark.papers import published
from benchmark.results.explain import explain
from benchmark.scoring.metrics import METRICS
from benchmark.studies import study

PAPERS = ("mandekar2025/small", "hossen2025/small", "deng2024/small", "fozzati2024/small")


def places_of(found):
    """What the report prints, by where it does."""
    return {place.where: place.text for place in found.printed}


def tables_of(name):
    """Tables of a committed report and its appendix: caption, header and rows, as text without escapes."""
    text = pages_text(REPOSITORY / "reports" / name)
    found = []
    for caption, block in re.findall(r"^\*([^\n]+)\*\n\n((?:\|.*\n)+)", text, re.MULTILINE):
        lines = [re.split(r"(?<!\\)\|", line.strip()[1:-1]) for line in block.splitlines()]
        lines = [[re.sub(r"\\(.)", r"\1", cell).strip() for cell in line] for line in lines]
        found.append((caption, lines[0], [[cell.replace("**", "") for cell in line] for line in lines[2:]]))
    return found


def cells_of(name):
    """Cells of a report's comparison tables: (model, metric, region) to text; only of metrics in the usual units."""
    titles = {metric.title: metric.name for metric in METRICS.values()}
    cells = {}
    for caption, header, lines in tables_of(name):
        for model, *values in lines if "mean ± SD over" in caption else ():
            for column, value in zip(header[1:], values, strict=True):
                metric, region = re.fullmatch(r"(.+?)(?: \([\w ]+\))? [↑↓] (\w+)", column).groups()
                if metric in titles:
                    joined = "-ensemble" if "/" in model else "/ensemble"
                    cells[model.replace(", ensemble", joined), titles[metric], region] = value
    return cells


@pytest.mark.parametrize("name", ["brats_small", "quickstart", *PAPERS])
def test_committed_cells_are_explained_to_the_digit_that_the_report_prints(name, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    declared, cells = study.load(name), cells_of(name)
    models = list(dict.fromkeys(model for model, _, _ in cells))
    wanted = [key for key in cells if key[0] in (models[0], models[-1]) and key[1] in ("dice", "hd95", "lesion_pq")]
    assert len(wanted) >= 6
    for model, metric, region in wanted:
        found = explain(declared, model, region, metric)
        (cell,) = [text for where, text, _ in found.printed if where.startswith("Comparison, ")]
        assert cell == cells[model, metric, region], (model, metric, region)
        assert found.warnings == [] and all(run.cases for run in found.runs)


def printed_in(name):
    """The paper's tables by their ids."""
    return {table["id"]: table for table in published.load(published.find(REPOSITORY / "reports" / name)).tables}


def paper_rows():
    """Every number of ours beside a paper's in the committed reports: its study and row, and what explain is given."""
    for name in PAPERS:
        printed_tables = printed_in(name)
        for caption, header, lines in tables_of(name):
            table = printed_tables.get(caption.partition(" (")[0])
            for line in lines if table and header[:3] == ["Row", "Our model", "Column"] else ():
                label, model, title = line[:3]
                if model != "none of ours":
                    row = next(row for row in table["rows"] if row["label"] == label)
                    readings = [one for c in table["columns"] for one in (c, c.get("or")) if one]
                    place = [c for c in readings if c["name"] == title.removesuffix(" (ours: over patients)")]
                    yield name, line, row, place[0] if place else None, table.get("reference"), table["id"]


def test_every_number_beside_a_paper_is_explained_to_the_digit_that_the_report_prints(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    found = functools.cache(lambda name, *arguments: explain(study.load(name), *arguments))
    count = 0
    for name, line, row, column, reference, table in paper_rows():
        label, model, title, printed_there, ours = line[:5]
        if ours in ("the reference itself", "this pair was not declared", "not scored", "not run"):
            continue
        where = f"{table}, {label}, {model}, {title}, {printed_there}"
        if "p-value" in title:
            pair = found(name, model, "WT", "dice", reference)
            assert places_of(pair)[where] == f"Ours {ours}; Verdict {line[7]}", line
            continue
        slices = column is None or column.get("aggregate") == "slices"
        is_accuracy = row.get("role") == "accuracy" and title in ("Accuracy", "Acc")
        measure = "accuracy" if is_accuracy else published.role(column)
        key = measure if slices else column.get("history") or column["metric"]
        one = found(name, model, "slice" if slices else None, key)
        text = f"Ours {ours}; 95% CI {line[5]}; Difference {line[6]}; Verdict {line[7]}"
        assert places_of(one)[where] == text, line
        scale, digits = 100 if "%" in title + printed_there else 1, len(ours.partition(" ")[0].partition(".")[2])
        assert ours.partition(" ")[0] in [f"{result.value * scale:.{digits}f}" for result in one.results], line
        count += 1
    assert count > 60


def test_a_model_under_its_own_recipe_is_set_beside_the_one_protocol(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    name, count = "mandekar2025/small", 0
    table = printed_in(name)["Table II"]
    ((_, header, lines),) = [one for one in tables_of(name) if "one protocol for all models" in one[0]]
    for line in lines:
        model = next(row["model"] for row in table["rows"] if row["label"] == line[0])
        metric = next(column["metric"] for column in table["columns"] if column["name"] == line[1])
        found = explain(study.load(name), model, None, metric, f"{model}/native")
        shown = "; ".join(map(" ".join, zip(header[5:], line[5:], strict=True)))
        assert places_of(found)[f"Table II, two recipes, {', '.join(line[:3])}"].endswith(shown)
        scale, digits = (100, 1) if "%" in line[1] else (1, 3)
        assert f"{-found.paired.difference * scale:+.{digits}f}" == line[header.index("Native - identical")]
        count += 1
    assert count == 8


@pytest.mark.parametrize("name", ["deng2024/small", "fozzati2024/small"])
def test_every_number_of_two_splits_is_explained_to_the_digit_that_the_report_prints(name, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    titles, count = {metric.title: metric.name for metric in METRICS.values()}, 0
    for caption, header, lines in tables_of(name):
        both = re.fullmatch(r"(\S+) under two splits \((\S+): by (\w+)\)\.", caption)
        for line in lines if both else ():
            metric, kind = line[0].split(", ")
            found = explain(study.load(name), both[1], line[1], titles[metric], both[2])
            text = "; ".join(f"{column} {cell}" for column, cell in zip(header[2:], line[2:], strict=True))
            assert text in [cell.text for cell in found.printed]
            values = {result.name: result.value for result in found.results}
            shown = [f"{values[f'{kind}, {model}']:.3f}" for model in both.groups()[:2]]
            assert shown == [cell.partition(" ")[0] for cell in line[2:4]]
            assert f"{values[f'{kind}, A - B']:+.3f}" == line[4]
            count += 1
    assert count >= 4


@pytest.mark.parametrize("name", ["brats_small", "quickstart"])
def test_the_ranking_is_explained_to_the_digit_that_the_report_prints(name, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    ((_, header, lines),) = [table for table in tables_of(name) if "Ranking by" in table[0]]
    assert len(lines) == len(study.load(name).models)
    for line in lines:
        found = explain(study.load(name), line[1], metric="rank")
        shown = [" ".join(pair) for pair in zip(header, line, strict=True) if pair[0] != "Model"]
        assert places_of(found)[f"Ranking, {line[1]}"] == "; ".join(shown)
        assert f"{np.mean([row['mean'] for row in found.parts]):.2f}" == line[2]
        assert f"{found.results[1].value}" == line[0]


def test_a_row_of_methods_is_made_anew_where_it_is_not_on_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("bundles", "data_manifests"):
        Path(name).symlink_to(REPOSITORY / name)
    Path("reports/brats_small").mkdir(parents=True)
    for name in ("study.json", "scores.csv", "comparisons.csv", "provenance.json"):
        shutil.copy(REPOSITORY / "reports/brats_small" / name, "reports/brats_small")
    ((_, header, lines),) = [table for table in tables_of("brats_small") if "the methods, over patients" in table[0]]
    line = next(line for line in lines if line[:3] == ["ET", "unet", "la_resunet"])
    found = explain(study.load("brats_small"), "la_resunet", "ET", against="unet")
    assert f"{100 * found.paired.methods['share_seed']:.0f} %" == line[header.index("Seeds")]
    assert found.printed == [] and "report.json does not exist" in found.warnings[0]


def test_a_committed_comparison_and_interval_are_explained_to_the_digit(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    folder = REPOSITORY / "reports" / "brats_small"
    report = pages_text(folder)
    found = explain(study.load("brats_small"), "la_resunet", "ET", against="unet")
    low, high = found.summary["ci_low"], found.summary["ci_high"]
    shown = places_of(found)
    for table, caption in (
        ("Methods, trained anew", "the methods, over"),
        ("Declared comparisons", "declared comparisons, differences"),
    ):
        ((_, header, lines),) = [one for one in tables_of("brats_small") if caption in one[0] and "Dice" in one[0]]
        line = next(line for line in lines if line[:3] == ["ET", "unet", "la_resunet"])
        assert shown[f"{table}, ET, unet, la_resunet"] == "; ".join(
            map(" ".join, zip(header[3:], line[3:], strict=True))
        )
    assert f"la_resunet, {found.summary['mean']:.3f} (95% CI {low:.3f} to {high:.3f})" in report
    comparisons = pd.read_csv(folder / "comparisons.csv").set_index(["metric", "region", "model_a", "model_b"])
    row = comparisons.loc["dice", "ET", "unet", "la_resunet"]
    pair = found.paired
    assert pair.difference == pytest.approx(row["difference"], rel=1e-12)
    # The declared test's own interval, of new seeds too, is the wider one.
    assert row["test"] == "two_level" and row["ci_low"] < pair.row["difference"] < row["ci_high"]
    assert (pair.row["ci_low"], pair.row["ci_high"]) == pytest.approx((row["ci_low"], row["ci_high"]), rel=1e-12)
    assert (found.summary["mean"], found.summary["sd"]) == pytest.approx((row["mean_b"], row["sd_b"]), rel=1e-12)
    assert sum(p["difference"] == 0 for p in pair.patients) == row["n_ties"]
    assert pair.power.sd_difference == pytest.approx(row["sd_difference"], rel=1e-12)


def test_a_cost_and_the_same_pair_by_other_methods_are_explained_to_the_digit(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    found = explain(study.load("brats_small"), "unet", metric="epoch_seconds")
    ((_, header, lines),) = [one for one in tables_of("brats_small") if one[0] == "What each model cost."]
    shown = lines[0][header.index("s per epoch")]
    assert places_of(found) == {"Cost, unet, s per epoch": shown} and found.printed[0].page == "appendix.md"
    assert shown.startswith(f"{found.results[0].value:.3g} (")
    epochs, seconds = (sum(part[name] for part in found.parts) for name in ("epochs", "s of epochs"))
    assert found.results[0].value == pytest.approx(seconds / epochs, rel=1e-5)
    pair = explain(study.load("brats_small"), "unet", "ET", against="la_resunet").paired
    rows = pd.read_csv(REPOSITORY / "reports/brats_small/sensitivity.csv")
    row = rows.set_index(["metric", "region", "model_a", "model_b"]).loc["dice", "ET", "unet", "la_resunet"]
    # An optimiser ends within a tolerance, elsewhere on another processor; a report prints three digits.
    assert pair.sensitivity["mixed_p"] == pytest.approx(row["mixed_p"], rel=1e-6)
    assert pair.sensitivity["p_b_better"] == row["p_b_better"]
