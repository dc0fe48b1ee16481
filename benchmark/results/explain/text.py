"""Print the explanation of a number on a terminal, in the order in which the number comes about."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmark.base.progress import console as terminal
from benchmark.results.explain.answers import CaseValue, Computed, Derived, Explanation, Number, Paired, Power

MORE_DIGITS = 2
"""Decimals beyond those of the report, so that a reader can average again."""


def show(found: Explanation | Derived) -> None:
    """Print runs, parts, what a rule decided, outliers, the result, where it is printed, and the paired test."""
    console = terminal(piped=160)
    console.print(f"{found.title}, {found.model}, study {found.study}", style="bold", markup=False)
    version = f", metric version {found.version}" if isinstance(found, Explanation) else ""
    _say(console, f"Rows: {found.source}{version}.")
    for sentence in found.warnings:
        _say(console, f"Warning: {sentence}")
    if found.runs:
        console.print(_run_table(found), highlight=False)
    if isinstance(found, Explanation):
        _patient_table(console, found)
        _say(console, *_rules(found), *_result(found))
    else:
        console.print(_part_table(found), highlight=False)
        _say(console, found.how, *(_derived(result, found.unit) for result in found.results))
    _say(console, f"Printed in the report:{'' if found.printed else ' nowhere by itself.'}")
    _say(console, *(f"- {where}: {text}" for where, text in found.printed))
    if found.beside and not found.paired:
        _say(console, f"The report sets it beside {', '.join(found.beside)}: follow that by --against.")
    if found.paired:
        _paired(console, found.paired, found.unit, declared=isinstance(found, Explanation))


def _say(console: Console, *sentences: str) -> None:
    for sentence in sentences:
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def _number(value: Any, unit: str, sign: bool = False) -> str:
    digits = (1 if unit else 3) + MORE_DIGITS
    return f"{value:{'+' if sign else ''}.{digits}f}" if math.isfinite(value) else "-"


def _table(*columns: str, numbers: Sequence[int] = ()) -> Table:
    table = Table()
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index in numbers else "left", overflow="fold")
    return table


def _run_table(found: Number) -> Table:
    table = _table("run", "fold", "seed", "cases", "commit", "fingerprint", "folder", numbers=(1, 2, 3))
    for run in found.runs:
        place = f"{run.state}: {run.folder}" if run.state == "here" else run.state
        cells = (run.id, run.fold, run.seed, run.cases, run.commit[:12], run.fingerprint[:12], place)
        table.add_row(*(escape(str(cell)) for cell in cells))
    return table


def _part_table(found: Derived) -> Table:
    names = list(dict.fromkeys(name for row in found.parts for name in row))
    texts = [name for name in names if any(isinstance(row.get(name), str) for row in found.parts)]
    table = _table(*names, numbers=[place for place, name in enumerate(names) if name not in texts])
    for row in found.parts:
        table.add_row(*(escape(_cell(row.get(name, ""), found.unit)) for name in names))
    return table


def _cell(value: Any, unit: str) -> str:
    """Text and whole numbers as they are, others with the decimals of a score."""
    return _number(value, unit) if isinstance(value, float) else str(value)


def _derived(result: Computed, unit: str) -> str:
    ends = "" if math.isnan(result.low) else f", 95% interval {_cell(result.low, unit)} to {_cell(result.high, unit)}"
    return f"Result: {result.name} ({result.formula}): {_cell(result.value, unit)}{ends}."


def _patient_table(console: Console, found: Explanation) -> None:
    unit, seeds = found.unit, sorted({seed for case in found.cases for seed in case.seeds})
    columns = ("patient", "case", "fold", *(f"seed {seed}" for seed in seeds), "case mean", "patient mean", "")
    table = _table(*columns, numbers=range(2, len(columns) - 1))
    for patient in found.patients:
        for index, case in enumerate(patient.cases):
            values = [_number(case.seeds[seed], unit) if seed in case.seeds else "-" for seed in seeds]
            mean = "" if index else _number(patient.value, unit)
            marks = [case.note, f"outlier: {patient.outlier} the fence" if patient.outlier and not index else ""]
            name = "" if index else patient.patient_id
            cells = [name, case.case_id, ", ".join(map(str, case.folds)), *values, _number(case.value, unit), mean]
            table.add_row(*map(escape, [*cells, "; ".join(filter(None, marks))]))
    console.print(table, highlight=False)


def _rules(found: Explanation) -> list[str]:
    """Sentences on what a rule decided, on outliers and the worst cases, and on who was left out."""
    noted = [case for case in found.cases if case.note]
    listed = "; ".join(f"{case.case_id}: {case.note}" for case in noted)
    said = [f"Empty masks or missing predictions, where a rule decides: {len(noted)} of {len(found.cases)} cases"]
    said[0] += f" ({listed})." if noted else "."
    beyond = [f"{patient.patient_id} {patient.outlier}" for patient in found.patients if patient.outlier]
    low, high = (_number(fence, found.unit) for fence in found.fences)
    said.append(f"Outliers: {', '.join(beyond) or 'none'} ({found.outlier_rule}: here {low} and {high}).")
    worst = {case.case_id: case for case in found.cases}
    said.append("Worst cases: " + ", ".join(_worst(worst[case], found.unit) for case in found.worst) + ".")
    if found.patients_left_out:
        said += [*found.left_out, f"Left out: {', '.join(found.patients_left_out)}."]
    return said


def _worst(case: CaseValue, unit: str) -> str:
    places = f" ({', '.join(case.predictions)})" if case.predictions else ""
    return f"{case.case_id} {_number(case.value, unit)}{places}"


def _result(found: Explanation) -> list[str]:
    row, unit = found.summary, found.unit
    ends = f"{_number(row['ci_low'], unit)} to {_number(row['ci_high'], unit)}"
    spread = f", SD over seeds of that mean {_number(row['seed_sd'], unit)}"
    spread += f" (by seed {', '.join(f'{seed}: {_number(mean, unit)}' for seed, mean in found.by_seed.items())})"
    seeds = "1 seed" if row["n_seeds"] == 1 else f"{row['n_seeds']} seeds"
    return [
        f"Result: {seeds} averaged within each of {row['n_cases']} cases, cases within each of "
        f"{row['n_patients']} patients: mean {_number(row['mean'], unit)}, SD {_number(row['sd'], unit)}, median "
        f"{_number(row['median'], unit)}, 95% bootstrap interval of the mean {ends}"
        f"{spread if row['n_seeds'] > 1 else ''}."
    ]


def _paired(console: Console, pair: Paired, unit: str, declared: bool) -> None:
    """Print the differences of patients, who drives their mean, the pair's rows of both tables, and power."""
    table = _table("patient", pair.model_a, pair.model_b, "A - B", "mean without", "change", numbers=range(1, 6))
    for row in pair.patients:
        cells = [_number(row[key], unit, key in ("difference", "without", "change")) for key in list(row)[1:]]
        table.add_row(escape(row["patient_id"]), *cells)
    console.print(table, highlight=False)
    ends = f"{_number(pair.ci_low, unit, True)} to {_number(pair.ci_high, unit, True)}"
    mean = _number(pair.difference, unit, True)
    turned = "No single patient changes the sign when left out."
    if pair.deciding:
        turned = f"The sign changes when one of these is left out: {', '.join(pair.deciding)}."
    _say(
        console,
        f"A - B, {pair.model_a} less {pair.model_b}: mean {mean}, 95% bootstrap interval over these patients {ends}.",
        f"Patients that change that mean most when left out: {', '.join(pair.driving) or 'none'}. {turned}",
    )
    if pair.row is None and declared:
        _say(console, "This pair and metric were not declared for comparison, so they were not tested.")
    for name, made in (("comparisons.csv", pair.row), ("methods.csv", pair.methods)):
        if made:
            said = _table(name, "")
            for key, value in made.items():
                said.add_row(escape(key), escape("" if isinstance(value, float) and math.isnan(value) else str(value)))
            console.print(said, highlight=False)
    if pair.power:
        _power(console, pair.power, unit)


def _power(console: Console, power: Power, unit: str) -> None:
    """Print how many patients true differences would need, of this pair and as the report has it."""
    names = list(power.rows[0])[1:]
    table = _table("difference", *names, numbers=range(len(names) + 1))
    for row in power.rows:
        counts = [f"{row[name]:.0f}" for name in names]
        table.add_row(f"{row['target']:g}", *({"inf": "none", "nan": "-"}.get(count, count) for count in counts))
    console.print(table, highlight=False)
    shares = ", ".join(f"{name} {value:.3g}" for name, value in power.variances.items())
    methods = f"; of methods, by the variances {shares} of one run's difference on one patient" if shares else ""
    _say(
        console,
        "Patients that show such a true difference of this pair and region: of these networks, by the SD of their "
        f"differences, {_number(power.sd_difference, unit)}{methods}. Printed in the report, as medians:",
        *(f"- {where}: {text}" for where, text in power.printed),
    )
