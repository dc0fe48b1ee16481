"""The explanation of a cell to tables on a terminal, in the order in which the number comes about."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmark.explain import CaseValue, Explanation, Paired
from benchmark.metrics import METRICS, Metric
from benchmark.report.tables import title

PIPED_WIDTH = 160
"""Columns where nothing tells how wide the output is."""

MORE_DIGITS = 2
"""Decimals beyond those of the report, so that a reader can average again."""


def show(found: Explanation) -> None:
    """Print runs, patients and cases, what a rule decided, outliers, the result and the paired test."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPED_WIDTH)
    metric = METRICS[found.metric]
    console.print(f"{title(metric)} of {found.region}, {found.model}, study {found.study}", style="bold", markup=False)
    _say(console, f"Rows: {found.source}, metric version {metric.version}.")
    for sentence in found.warnings:
        _say(console, f"Warning: {sentence}")
    if found.runs:
        console.print(_run_table(found), highlight=False)
    _patient_table(console, found, metric)
    _say(console, *_rules(found, metric), *_result(found, metric))
    if found.paired:
        _paired(console, found.paired, metric)


def _say(console: Console, *sentences: str) -> None:
    for sentence in sentences:
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def _number(value: Any, metric: Metric, sign: bool = False) -> str:
    digits = (1 if metric.unit else 3) + MORE_DIGITS
    return f"{value:{'+' if sign else ''}.{digits}f}" if math.isfinite(value) else "-"


def _table(*columns: str, numbers: Sequence[int] = ()) -> Table:
    table = Table()
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index in numbers else "left", overflow="fold")
    return table


def _run_table(found: Explanation) -> Table:
    table = _table("run", "fold", "seed", "cases", "commit", "fingerprint", "folder", numbers=(1, 2, 3))
    for run in found.runs:
        place = f"{run.state}: {run.folder}" if run.state == "here" else run.state
        cells = (run.id, run.fold, run.seed, run.cases, run.commit[:12], run.fingerprint[:12], place)
        table.add_row(*(escape(str(cell)) for cell in cells))
    return table


def _patient_table(console: Console, found: Explanation, metric: Metric) -> None:
    seeds = sorted({seed for case in found.cases for seed in case.seeds})
    columns = ("patient", "case", "fold", *(f"seed {seed}" for seed in seeds), "case mean", "patient mean", "")
    table = _table(*columns, numbers=range(2, len(columns) - 1))
    for patient in found.patients:
        for index, case in enumerate(patient.cases):
            values = [_number(case.seeds[seed], metric) if seed in case.seeds else "-" for seed in seeds]
            mean = "" if index else _number(patient.value, metric)
            marks = [case.note, f"outlier: {patient.outlier} the fence" if patient.outlier and not index else ""]
            name = "" if index else patient.patient_id
            cells = [name, case.case_id, ", ".join(map(str, case.folds)), *values, _number(case.value, metric), mean]
            table.add_row(*map(escape, [*cells, "; ".join(filter(None, marks))]))
    console.print(table, highlight=False)


def _rules(found: Explanation, metric: Metric) -> list[str]:
    """Sentences on what a rule decided, on outliers and the worst cases, and on who was left out."""
    noted = [case for case in found.cases if case.note]
    listed = "; ".join(f"{case.case_id}: {case.note}" for case in noted)
    said = [f"Decided by a rule for empty masks or missing predictions: {len(noted)} of {len(found.cases)} cases"]
    said[0] += f" ({listed})." if noted else "."
    beyond = [f"{patient.patient_id} {patient.outlier}" for patient in found.patients if patient.outlier]
    low, high = (_number(fence, metric) for fence in found.fences)
    said.append(f"Outliers: {', '.join(beyond) or 'none'} ({found.outlier_rule}: here {low} and {high}).")
    worst = {case.case_id: case for case in found.cases}
    said.append("Worst cases: " + ", ".join(_worst(worst[case], metric) for case in found.worst) + ".")
    if found.patients_left_out:
        said += [*found.left_out, f"Left out: {', '.join(found.patients_left_out)}."]
    return said


def _worst(case: CaseValue, metric: Metric) -> str:
    places = f" ({', '.join(case.predictions)})" if case.predictions else ""
    return f"{case.case_id} {_number(case.value, metric)}{places}"


def _result(found: Explanation, metric: Metric) -> list[str]:
    row = found.summary
    ends = f"{_number(row['ci_low'], metric)} to {_number(row['ci_high'], metric)}"
    spread = f", SD over seeds of that mean {_number(row['seed_sd'], metric)}" if row["n_seeds"] > 1 else ""
    seeds = "1 seed" if row["n_seeds"] == 1 else f"{row['n_seeds']} seeds"
    return [
        f"Result: {seeds} averaged within each of {row['n_cases']} cases, cases within each of "
        f"{row['n_patients']} patients: mean {_number(row['mean'], metric)}, SD {_number(row['sd'], metric)}, median "
        f"{_number(row['median'], metric)}, 95% bootstrap interval of the mean {ends}{spread}.",
        f"Printed in the report as: {found.printed}",
    ]


def _paired(console: Console, pair: Paired, metric: Metric) -> None:
    """Print the differences of patients, who drives their mean, and the pair's row of comparisons.csv."""
    table = _table("patient", pair.model_a, pair.model_b, "A - B", "mean without", "change", numbers=range(1, 6))
    for row in pair.patients:
        cells = [_number(row[key], metric, key in ("difference", "without", "change")) for key in list(row)[1:]]
        table.add_row(escape(row["patient_id"]), *cells)
    console.print(table, highlight=False)
    ends = f"{_number(pair.ci_low, metric, True)} to {_number(pair.ci_high, metric, True)}"
    mean = _number(pair.difference, metric, True)
    turned = ", ".join(pair.deciding) or "nobody alone"
    _say(
        console,
        f"A - B, {pair.model_a} less {pair.model_b}: mean {mean}, 95% bootstrap interval over these patients {ends}.",
        f"Driven most by (largest change of that mean when left out): {', '.join(pair.driving) or 'nobody'}. "
        f"Without whom its sign turns: {turned}.",
    )
    if pair.row is None:
        _say(console, "comparisons.csv has no row of this pair and metric: it was not declared, so it was not tested.")
        return
    said = _table("comparisons.csv", "")
    for key, value in pair.row.items():
        said.add_row(escape(key), escape("" if isinstance(value, float) and math.isnan(value) else str(value)))
    console.print(said, highlight=False)
