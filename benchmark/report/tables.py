"""Make the tables of a report from summaries, comparisons and scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from benchmark.data.manifest import LesionRule
from benchmark.report.document import Cell, Key, Table, cells_of, table_to_markdown
from benchmark.scoring.metrics import Metric
from benchmark.stats.compare import NOT_SHOWN, NOT_TESTED, gate_shut
from benchmark.stats.estimates import Measured
from benchmark.stats.families import GATED, NETWORKS, PRIMARY
from benchmark.stats.patients import summarise, with_models
from benchmark.stats.seeds import TWO_LEVEL

WORSE, UNTESTED = "†", "‡"
TEST_NAMES = {
    "wilcoxon": "Wilcoxon signed-rank test",
    "paired_t": "paired t test",
    "permutation": "paired permutation test",
    "two_level": "two-level t test over patients and trainings",
}
PHANTOM = "PHANTOM data, not patients. "
NONE = "none"
"""Stands in a cell that can have no number; the row says why."""
LESION_RULES = {"lesion": "BraTS 2023", "instance": "panoptica"}
"""Rules by which lesions are counted, by the first word of their counts in ``metrics.LESION_COUNTS``."""
LESION_NAMES = tuple(f"{rule}_{kind}" for rule in LESION_RULES for kind in ("tp", "fn", "fp"))
"""Those counts in the order of the table's columns."""

Metrics = Mapping[str, Metric]


def in_unit(metrics: Metrics, unit: str) -> Metrics:
    """The metrics, with lengths in another unit than mm: pixels, where a data set does not say how large they are.

    Volumes, in ml of pixels of 1 mm, are then thousands of pixels, slices being one unit apart.
    """
    if unit == "mm":
        return dict(metrics)
    units, one = {"mm": unit, "ml": f"1000 {unit}"}, f" {unit.rstrip('s')}"
    return {
        name: replace(metric, unit=units.get(metric.unit, ""), title=metric.title.replace(" mm", one))
        for name, metric in metrics.items()
    }


def number(value: Any, metric: Metric, sign: bool = False) -> str:
    """Write a score with three decimals, or a length with one; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:{'+' if sign else ''}.{1 if metric.unit else 3}f}"


def p_value(p: float, relation: bool = False) -> str:
    """Write a p value with three decimals, perhaps with its sign of relation before it."""
    if not math.isfinite(p):
        return "-"
    if p < 0.001:
        return "< 0.001" if relation else "<0.001"
    return f"{'= ' if relation else ''}{p:.3f}"


def interval(low: float, high: float, metric: Metric) -> str:
    """Write the interval of a difference, each end with its sign."""
    return f"{number(low, metric, True)} to {number(high, metric, True)}"


def gap_cells(gap: Measured, name: str, scale: float = 1.0, digits: int = 3) -> list[str]:
    """A difference, its interval, and whether the interval shows that ``name`` is higher or lower."""
    value = f"{gap.value * scale:+.{digits}f}"
    if math.isnan(gap.low):
        return [value, NONE, "no interval: fewer than two patients"]
    shown = {1: f"{name} higher", -1: f"{name} lower", 0: "no difference shown"}[gap.sign]
    return [value, f"{gap.low * scale:+.{digits}f} to {gap.high * scale:+.{digits}f}", shown]


def title(metric: Metric, arrow: bool = True) -> str:
    """Name a metric with its unit and, as an arrow, its better direction."""
    unit = f" ({metric.unit})" if metric.unit else ""
    return f"{metric.title}{unit}{(' ↑' if metric.better == 'higher' else ' ↓') if arrow else ''}"


def short(value: Any) -> str:
    """A config's value in a table cell: a component by its class and what it is given, "none" for no such id.

    References and the lambdas that pick a metric's input are left out: they are wiring.
    """
    if isinstance(value, Mapping):
        shown = {key: short(part) for key, part in value.items() if key != "_target_" and not _is_wiring(part)}
        given = ", ".join(f"{key} = {text}" for key, text in shown.items() if text)
        if "_target_" not in value:
            return given
        return str(value["_target_"]).split(".")[-1] + (f" ({given})" if given else "")
    return "none" if value in (None, "") else str(value)


def _is_wiring(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("@", "$lambda"))


def differences_table(differences: Mapping[str, Mapping[str, Any]]) -> Table:
    """Ids in which configs differ, each value with the models that have it; ``differences`` maps id to model to value.

    The value that most models have is said last, of "all others".
    """
    rows: list[list[str | Cell]] = []
    for key, by_model in differences.items():
        texts = {model: short(value) for model, value in by_model.items()}
        if len(set(texts.values())) < 2:
            # They differ in wiring only.
            texts = {model: str(value) for model, value in by_model.items()}
        having = {text: [model for model in texts if texts[model] == text] for text in dict.fromkeys(texts.values())}
        most = max(having, key=lambda text: len(having[text]))
        rest = most if len(having[most]) > 1 else None
        for n, text in enumerate(sorted(having, key=lambda text: text == rest)):
            models = "all others" if text == rest else ", ".join(having[text])
            rows.append([key if n == 0 else "", models, text or "none"])
    caption = "Ids in which the models' training configs differ; all else is the same for every model."
    return Table(caption, ["Id", "Model", "Value"], rows, wrap=True)


def metric_groups(declared: Sequence[str], scored: Sequence[str], metrics: Metrics) -> list[list[str]]:
    """Split metrics into groups of two, one table each: the declared ones first, never mixed with the others."""
    others = [name for name in metrics if name in scored and name not in declared]
    return [part[start : start + 2] for part in (list(declared), others) for start in range(0, len(part), 2)]


def comparison_table(summary: pd.DataFrame, comparisons: pd.DataFrame, names: Sequence[str], metrics: Metrics) -> Table:
    """Models by metric and region: mean ± SD over patients, best bold, marked where shown to differ from the best.

    ``summary`` comes from ``stats.summarise`` and ``comparisons`` from ``stats.compare``.
    """
    models, regions = list(pd.unique(summary["model"])), list(pd.unique(summary["region"]))
    rows: list[list[str | Cell]] = [[model] for model in models]
    for name in names:
        for region in regions:
            for row, cell in zip(rows, _column(summary, comparisons, metrics[name], region, models), strict=True):
                row.append(cell)
    titles = " and ".join(title(metrics[name], arrow=False) for name in names)
    count = summary["n_patients"].max() if len(summary) else 0
    marks = {cell.mark for row in rows for cell in row if isinstance(cell, Cell)}
    return Table(
        caption=f"{titles} by model and region, mean ± SD over {count} patients.",
        header=["Model", *regions * len(names)],
        groups=[(title(metrics[name]), len(regions)) for name in names],
        rows=rows,
        notes=[_mark_note(comparisons, names, len(models), marks), empty_note(summary, names)],
    )


def _column(
    summary: pd.DataFrame, comparisons: pd.DataFrame, metric: Metric, region: str, models: Sequence[str]
) -> list[Cell]:
    own = summary[(summary["metric"] == metric.name) & (summary["region"] == region)].set_index("model")
    best = own["mean"].idxmax() if metric.better == "higher" else own["mean"].idxmin()
    cells = []
    for model in models:
        if model not in own.index:
            cells.append(Cell("-"))
            continue
        mean, spread = number(own.at[model, "mean"], metric), number(own.at[model, "sd"], metric)
        # What prints the same as the best is bold too: a reader cannot tell them apart.
        bold = len(models) > 1 and mean == number(own.at[best, "mean"], metric)
        mark = "" if model == best else _mark(comparisons, metric.name, region, model, str(best))
        key = Key(model, metric.name, region)
        cells.append(Cell(mean + (f" ± {spread}" if spread != "-" else ""), bold, mark, key))
    return cells


def _mark(comparisons: pd.DataFrame, metric: str, region: str, model: str, best: str) -> str:
    rows = comparisons[(comparisons["metric"] == metric) & (comparisons["region"] == region)]
    if rows.empty:
        return ""
    pair = of_pair(rows, model, best)
    if pair.empty or pair["verdict"].iloc[0] == NOT_TESTED:
        return UNTESTED
    return WORSE if bool(pair["significant"].iloc[0]) else ""


def of_pair(table: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """Rows of a table of comparisons on two models, whichever of them is A."""
    return table[table[["model_a", "model_b"]].isin([first, second]).all(axis=1)]


def correction(comparisons: pd.DataFrame) -> str:
    """Say in a phrase how p values were corrected: over all comparisons, or over a primary family and behind it."""
    primary, gated, networks = (int((comparisons["family"] == name).sum()) for name in (PRIMARY, GATED, NETWORKS))
    apart = f", and by itself over the {networks} of networks as trained" if networks else ""
    if networks and not primary + gated:
        return f"Holm's correction over all {networks} declared comparisons, of networks as trained"
    if not gated:
        return f"Holm's correction over all {primary} declared comparisons{' of methods' if apart else ''}{apart}"
    return (
        f"Holm's correction over the {primary} primary comparisons, and over the {gated} others only if all primary "
        f"ones show a difference{apart}"
    )


def _mark_note(comparisons: pd.DataFrame, names: Sequence[str], models: int, marks: set[str]) -> str:
    base = "Seeds are averaged within a case and cases within a patient."
    if models < 2:
        return base
    base += " Bold: best mean."
    tested = comparisons[comparisons["metric"].isin(list(names))]
    if tested.empty:
        return base + " These metrics were not declared for comparison: no difference here was tested."
    test = " or ".join(TEST_NAMES[name] for name in pd.unique(tested["test"]))
    family = correction(comparisons)
    equal = "no difference from the best was shown, which does not mean that they are equal."
    if WORSE in marks:
        how = f"{test}, two-sided, significant after {family}"
        base += f" {WORSE}: shown to differ from the best model of its column ({how}). No mark: {equal}"
    else:
        base += f" No model is marked: by the {test} with {family}, {equal}"
    if UNTESTED in marks:
        base += f" {UNTESTED}: its comparison with the best was not declared or could not be tested."
    return base


def empty_note(summary: pd.DataFrame, names: Sequence[str], metrics: Metrics | None = None) -> str:
    """Say how many cases a rule for empty masks decided, and with ``metrics`` by which rule."""
    rows = summary[summary["metric"].isin(list(names))]
    hits = rows.groupby("region", sort=False)["n_empty"].max()
    cases = int(rows["n_cases"].max()) if len(rows) else 0
    if not hits.sum():
        return f"No score of the {cases} cases was decided by a rule for empty masks."
    counts = ", ".join(f"{region} {int(count)}" for region, count in hits.items())
    said = f"Of {cases} cases, decided by a rule for empty masks (in the model with most): {counts}."
    if metrics is None:
        return f"{said} The rules are listed under Empty masks and missing predictions."
    rules = "; ".join(
        f"{metrics[name].title} {rule(metrics[name].both_empty, metrics[name])} if both masks are empty, "
        f"{rule(metrics[name].one_empty, metrics[name])} if one is"
        for name in names
    )
    return f"{said} Rules: {rules}."


def rule(value: Any, metric: Metric) -> str:
    """Write a metric's rule for empty masks in words."""
    words = {"diagonal": "the volume's diagonal", "volume": "the volume's size", "formula": "as its formula gives"}
    if isinstance(value, str):
        return words.get(value, value)
    return f"{value:g}{' ' + metric.unit if metric.unit else ''}"


def pairwise_table(comparisons: pd.DataFrame, metric: Metric) -> Table:
    """Every declared pair of one metric: paired difference with interval, p, effect size and verdict."""
    own = comparisons[comparisons["metric"] == metric.name].to_dict("records")
    rows: list[list[str | Cell]] = []
    for row in own:
        texts = {
            "n_patients": str(row["n_patients"]), "difference": number(row["difference"], metric, True),
            "ci": interval(row["ci_low"], row["ci_high"], metric), "p": p_value(row["p"]),
            "p_holm": p_value(row["p_holm"]), "p_false": p_value(row["p_false"]),
            **{name: f"{row[name]:+.2f}" if pd.notna(row[name]) else "-" for name in ("effect_size", "d_z")},
            "n_ties": str(int(row["n_ties"])) if pd.notna(row["n_ties"]) else "-",
            "verdict": verdict(row) + " (as trained)" * (row["family"] == NETWORKS),
        }  # fmt: skip
        rows.append(pair_row(row, texts))
    two_level = any(row["test"] == TWO_LEVEL for row in own)
    spread = "over patients and trainings, like the test" if two_level else "bootstrap over patients, BCa"
    if two_level and any(row["test"] != TWO_LEVEL for row in own):
        spread += "; of networks as trained, bootstrap over patients, BCa"
    notes_of = [row["note"] for row in own if row["note"] and pd.notna(row["note"])]
    if any(row["family"] == NETWORKS for row in own):
        notes_of = [part for note in notes_of for part in note.split("; ")]
    said = dict.fromkeys(notes_of)
    notes = [
        f"A - B: mean paired difference over patients, with its 95% interval ({spread}). Effect: matched-pairs "
        "rank-biserial correlation, from -1 to 1; d_z: mean over SD of the differences (Cohen). Ties: patients with no "
        "difference. P(false): probability that the model of the better mean is not better on average over such "
        "patients, as trained here (Christodoulou et al. 2025), for one claim alone, without correction"
        + ("; it leaves out the luck of training, which p counts." if two_level else "."),
        _margin_note(own, metric),
        *(f"{note[0].upper()}{note[1:]}." for note in said),
    ]
    unit = f" in {metric.unit}" if metric.unit else ""
    header = ["Region", "A", "B", "n", "A - B", "95% CI", "p", "p (Holm)", "P(false)"]
    header += ["Effect", "d_z", "Ties", "Verdict"]
    return Table(f"{metric.title}: declared comparisons, differences{unit}.", header, rows, notes=notes)


def pair_row(row: Mapping[Any, Any], texts: Mapping[str, str]) -> list[str | Cell]:
    """Cells of a pair in a region: these names, and ``texts`` by what each shows of the first model less the second."""
    key = Key(row["model_a"], row["metric"], row["region"], against=row["model_b"])
    return [row["region"], row["model_a"], row["model_b"], *cells_of(key, texts)]


def _margin_note(rows: Sequence[Mapping[Any, Any]], metric: Metric) -> str:
    margin = next((row["margin"] for row in rows if pd.notna(row["margin"])), None)
    if margin is None:
        return "No margin was declared, so nothing here says that two models are equivalent."
    return (
        f"Margin {number(margin, metric)}. Equivalent: the mean difference is shown to lie within the margin. No "
        "worse: that model is shown not to be worse by the margin or more. No difference shown: neither is shown (two "
        "one-sided tests, corrected over the family of comparisons)."
    )


SHUT = "not tested (gate shut)"
"""Verdict on a gated comparison, where some primary one shows no difference."""


def verdict(row: Mapping[Any, Any]) -> str:
    """Write a comparison's verdict with the name of the better model."""
    if row["verdict"] == NOT_SHOWN and gate_shut(row):
        return SHUT
    model = {"a ": row["model_a"], "b ": row["model_b"]}.get(str(row["verdict"])[:2])
    return f"{model} {row['verdict'][2:]}" if model else str(row["verdict"])


def seed_table(summary: pd.DataFrame, names: Sequence[str], metrics: Metrics) -> Table:
    """Models by metric and region: SD over seeds of the mean over patients."""
    models, regions = list(pd.unique(summary["model"])), list(pd.unique(summary["region"]))
    found = summary.set_index(["model", "metric", "region"])["seed_sd"]
    rows: list[list[str | Cell]] = [
        [model, *(
            Cell(number(found.get((model, name, region)), metrics[name]), key=Key(model, name, region, "seed_sd"))
            for name in names for region in regions
        )]
        for model in models
    ]  # fmt: skip
    groups = [(title(metrics[name], arrow=False), len(regions)) for name in names]
    caption = f"SD over {summary['n_seeds'].max()} seeds of the mean over patients."
    return Table(caption, ["Model", *regions * len(names)], rows, groups)


def rules_table(names: Sequence[str], metrics: Metrics) -> Table:
    """Metrics with their direction, version and value for empty masks and missing predictions."""
    rows: list[list[str | Cell]] = []
    for metric in (metrics[name] for name in names):
        rules = [rule(value, metric) for value in (metric.both_empty, metric.one_empty, metric.worst)]
        rows.append([title(metric, arrow=False), metric.better, metric.version, *rules])
    header = ["Metric", "Better", "Version", "Both masks empty", "One mask empty", "Prediction missing"]
    return Table("Value of each metric where a mask is empty or a prediction is missing.", header, rows)


def notes_table(scores: pd.DataFrame) -> Table | None:
    """Cases by region and note, one column per model; None where no row has a note."""
    table = with_models(scores)
    models, noted = list(pd.unique(table["model"])), table[table["note"] != ""]
    if noted.empty:
        return None
    counts = noted.groupby(["region", "note", "model"], sort=False)["case_id"].nunique().unstack("model", fill_value=0)
    counts = counts.reindex(columns=models, fill_value=0)
    rows = [[*names, *map(str, own)] for names, own in zip(counts.index, counts.to_numpy(), strict=True)]
    caption = "Cases with an empty or full mask or a missing prediction, under any seed."
    return Table(caption, ["Region", "Note", *models], rows)


def lesion_table(counts: pd.DataFrame, rule: LesionRule | None = None) -> Table | None:
    """Lesions per patient that were detected, missed and false, by region, model and rule; None without such counts.

    ``counts`` has columns model, patient_id, case_id, region and ``metrics.LESION_COUNTS``, one row per run and case.
    Runs are averaged within a case, cases within a patient, and then patients. ``rule`` is that of the set's manifest.
    """
    names, means = list(LESION_NAMES), _lesion_means(counts)
    if means is None:
        return None
    rows: list[list[str | Cell]] = []
    for region in pd.unique(counts["region"]):
        own = [model for model in pd.unique(counts["model"]) if (region, model) in means.index]
        for place, model in enumerate(own):
            found = means.loc[(region, model), names]
            cells = [Cell(f"{one:.1f}", key=Key(model, str(name), region)) for name, one in found.items()]
            rows.append(["" if place else region, model, *cells])
    return Table(
        caption="Lesions per patient: detected (TP), missed (FN), false (FP).",
        header=["Region", "Model", *["TP", "FN", "FP"] * len(LESION_RULES)],
        groups=[("", 1), *[(name, 3) for name in LESION_RULES.values()]],
        rows=rows,
        notes=[
            "Means over patients. By the rule of BraTS 2023, components that lie close together are one lesion, and "
            "tiny ones are not counted as missed; by panoptica's, which the organisers have used since, each component "
            "is one lesion.",
            *([_said(rule)] if rule else []),
        ],
    )


def _lesion_means(counts: pd.DataFrame) -> pd.DataFrame | None:
    """Mean numbers of lesions by region and model; None without any."""
    names = list(LESION_NAMES)
    if not set(names) <= set(counts) or counts[names].isna().all(axis=None):
        return None
    cases = counts.groupby(["region", "model", "patient_id", "case_id"], sort=False)[names].mean()
    patients = cases.groupby(["region", "model", "patient_id"], sort=False).mean()
    means: pd.DataFrame = patients.groupby(["region", "model"]).mean()
    return means


def false_lesions(counts: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Mean number of false lesions per patient by BraTS 2023's rule, by model and region, of those above one."""
    means, found = _lesion_means(counts), dict[str, dict[str, float]]()
    if means is None:
        return found
    many = means.loc[means["lesion_fp"] > 1, "lesion_fp"]
    for model in pd.unique(counts["model"]):
        own = {
            str(region): float(many[region, model]) for region in pd.unique(counts["region"]) if (region, model) in many
        }
        found |= {str(model): own} if own else {}
    return found


def _said(rule: LesionRule) -> str:
    own = "".join(f", in {region} {volume:g}" for region, volume in rule.smallest_of.items())
    return (
        f"Lesions and lesion-wise scores follow this set's manifest: {rule.dilations} dilations, and lesions of up to "
        f"{rule.smallest:g}{own} mm³ left out. {rule.source}"
    )


def headline_table(
    scores: pd.DataFrame, comparisons: pd.DataFrame, metrics: Metrics, *, metric: str = "dice", phantom: bool = False
) -> str:
    """Small Markdown table for a README: models by region under one metric, with its footnotes."""
    summary = summarise(scores[scores["metric"] == metric])
    table = comparison_table(summary, comparisons, [metric], metrics)
    caption, notes = PHANTOM * phantom + table.caption, [table.notes[0], empty_note(summary, [metric], metrics)]
    return table_to_markdown(replace(table, caption=caption, notes=notes))
