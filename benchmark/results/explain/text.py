"""Print the explanation of a number on a terminal, in the order in which the number comes about."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmark.base.progress import console as terminal
from benchmark.report.document import APPENDIX
from benchmark.results.explain.answers import (
    CaseValue,
    Computed,
    Derived,
    Explanation,
    Paired,
    Power,
    Printed,
    RunUsed,
)

Rows = Sequence[Mapping[str, Any]]
MORE_DIGITS = 2
"""Decimals beyond those of the report, so that a reader can average again."""


def show(found: Explanation | Derived) -> None:
    """Print runs, parts, what a rule decided, outliers, the result, where it is printed, and the paired test."""
    console, unit = terminal(piped=160), found.unit
    console.print(f"{found.title}, {found.model}, study {found.study}", style="bold", markup=False)
    version = f", metric version {found.version}" if isinstance(found, Explanation) else ""
    _say(console, f"Rows: {found.source}{version}.", *(f"Warning: {sentence}" for sentence in found.warnings))
    if found.runs:
        _table(console, [_run(run) for run in found.runs], "")
    if isinstance(found, Explanation):
        _table(console, list(_cases(found)), unit, right=["fold", "patient mean"])
        _say(console, *_rules(found), _result(found))
    else:
        _table(console, found.parts, unit)
        _say(console, found.how, *(_derived(result, unit) for result in found.results))
    _say(console, f"Printed in the report:{'' if found.printed else ' nowhere by itself.'}")
    _say(console, *map(_place, found.printed))
    if found.beside and not found.paired:
        _say(console, f"The report sets it beside {', '.join(found.beside)}: follow that by --against.")
    if found.paired:
        _paired(console, found.paired, unit, declared=isinstance(found, Explanation))


def sentences(found: Explanation) -> list[str]:
    """Say of a mean how it was made and which rules, outliers and cases are in it, without places on this machine."""
    patients = [
        replace(patient, cases=[replace(case, predictions=[]) for case in patient.cases]) for patient in found.patients
    ]
    return [_result(found), *_rules(replace(found, patients=patients))]


def driving(pair: Paired, unit: str) -> list[str]:
    """Say of a paired difference its mean, and which patients drive it."""
    mean, low, high = (_cell(value, unit, sign=True) for value in (pair.difference, pair.ci_low, pair.ci_high))
    turned = "No single patient changes the sign when left out."
    if pair.deciding:
        turned = f"The sign changes when one of these is left out: {', '.join(pair.deciding)}."
    return [
        f"A - B, {pair.model_a} less {pair.model_b}: mean {mean}, 95% bootstrap interval over these patients {low} to "
        f"{high}.",
        f"Patients that change that mean most when left out: {', '.join(pair.driving) or 'none'}. {turned}",
    ]


def _say(console: Console, *sentences: str) -> None:
    for sentence in sentences:
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def _place(printed: Printed) -> str:
    return f"- {printed.where}: {printed.text}" + f" ({APPENDIX})" * (printed.page == APPENDIX)


def _table(console: Console, rows: Rows, unit: str, right: Sequence[str] = (), signed: Sequence[str] = ()) -> None:
    """Print rows of names to values; columns of numbers, and those named by ``right``, stand to the right."""
    table, names = Table(), list(dict.fromkeys(name for row in rows for name in row))
    for name in names:
        is_text = name not in right and any(isinstance(row.get(name), str) for row in rows)
        table.add_column(name, justify="left" if is_text else "right", overflow="fold")
    for row in rows:
        table.add_row(*(escape(_cell(row.get(name, ""), unit, name in signed)) for name in names))
    console.print(table, highlight=False)


def _cell(value: Any, unit: str, sign: bool = False) -> str:
    """Text and whole numbers as they are, others with the decimals of a score."""
    if not isinstance(value, float):
        return str(value)
    digits = (1 if unit else 3) + MORE_DIGITS
    return f"{value:{'+' if sign else ''}.{digits}f}" if math.isfinite(value) else "-"


def _run(run: RunUsed) -> dict[str, Any]:
    return {
        "run": run.id, "fold": run.fold, "seed": run.seed, "cases": run.cases, "commit": run.commit[:12],
        "fingerprint": run.fingerprint[:12], "folder": f"here: {run.folder}" if run.state == "here" else run.state,
    }  # fmt: skip


def _derived(result: Computed, unit: str) -> str:
    ends = "" if math.isnan(result.low) else f", 95% interval {_cell(result.low, unit)} to {_cell(result.high, unit)}"
    return f"Result: {result.name} ({result.formula}): {_cell(result.value, unit)}{ends}."


def _cases(found: Explanation) -> Iterator[dict[str, Any]]:
    """A row per case; what is of the patient stands in the first of a patient's rows only."""
    seeds = sorted({seed for case in found.cases for seed in case.seeds})
    for patient in found.patients:
        of_patient: dict[str, Any] = {"patient": patient.patient_id, "patient mean": patient.value}
        outlier = f"outlier: {patient.outlier} the fence" if patient.outlier else ""
        for case in patient.cases:
            yield {
                "patient": of_patient.get("patient", ""), "case": case.case_id, "fold": ", ".join(map(str, case.folds)),
                **{f"seed {seed}": case.seeds.get(seed, math.nan) for seed in seeds}, "case mean": case.value,
                "patient mean": of_patient.get("patient mean", ""), "": "; ".join(filter(None, [case.note, outlier])),
            }  # fmt: skip
            of_patient, outlier = {}, ""


def _rules(found: Explanation) -> list[str]:
    """Sentences on what a rule decided, on outliers and the worst cases, and on who was left out."""
    noted = "; ".join(f"{case.case_id}: {case.note}" for case in found.cases if case.note)
    count = sum(bool(case.note) for case in found.cases)
    beyond = [f"{patient.patient_id} {patient.outlier}" for patient in found.patients if patient.outlier]
    low, high = (_cell(fence, found.unit) for fence in found.fences)
    cases = {case.case_id: case for case in found.cases}
    said = [
        f"Empty masks or missing predictions, where a rule decides: {count} of {len(found.cases)} cases"
        f"{f' ({noted})' if noted else ''}.",
        f"Outliers: {', '.join(beyond) or 'none'} ({found.outlier_rule}: here {low} and {high}).",
        f"Worst cases: {', '.join(_worst(cases[name], found.unit) for name in found.worst)}.",
    ]
    if found.patients_left_out:
        said += [*found.left_out, f"Left out: {', '.join(found.patients_left_out)}."]
    return said


def _worst(case: CaseValue, unit: str) -> str:
    places = f" ({', '.join(case.predictions)})" if case.predictions else ""
    return f"{case.case_id} {_cell(case.value, unit)}{places}"


def _result(found: Explanation) -> str:
    row = found.summary
    mean, sd, median, low, high, seed_sd = (
        _cell(float(row[key]), found.unit) for key in ("mean", "sd", "median", "ci_low", "ci_high", "seed_sd")
    )
    by_seed = ", ".join(f"{seed}: {_cell(value, found.unit)}" for seed, value in found.by_seed.items())
    spread = f", SD over seeds of that mean {seed_sd} (by seed {by_seed})" if row["n_seeds"] > 1 else ""
    seeds = "1 seed" if row["n_seeds"] == 1 else f"{row['n_seeds']} seeds"
    return (
        f"Result: {seeds} averaged within each of {row['n_cases']} cases, cases within each of {row['n_patients']} "
        f"patients: mean {mean}, SD {sd}, median {median}, 95% bootstrap interval of the mean {low} to {high}{spread}."
    )


def _paired(console: Console, pair: Paired, unit: str, declared: bool) -> None:
    """Print the differences of patients, who drives their mean, the pair's rows of both tables, and power."""
    names = ("patient", pair.model_a, pair.model_b, "A - B", "mean without", "change")
    rows = [dict(zip(names, row.values(), strict=True)) for row in pair.patients]
    _table(console, rows, unit, signed=names[3:])
    _say(console, *driving(pair, unit))
    if pair.row is None and declared:
        _say(console, "This pair and metric were not declared for comparison, so they were not tested.")
    tables = {"comparisons.csv": pair.row, "methods.csv": pair.methods, "sensitivity.csv": pair.sensitivity}
    for name, made in tables.items():
        if made:
            said = {key: "" if isinstance(value, float) and math.isnan(value) else value for key, value in made.items()}
            _table(console, [{name: key, "": str(value)} for key, value in said.items()], unit)
    if pair.power:
        _power(console, pair.power, unit)


def _power(console: Console, power: Power, unit: str) -> None:
    """Print how many patients true differences would need, of this pair and as the report has it."""
    words, rows = {"inf": "none", "nan": "-"}, []
    for row in power.rows:
        counts = {name: f"{count:.0f}" for name, count in row.items() if name != "target"}
        rows.append({"difference": f"{row['target']:g}", **{name: words.get(n, n) for name, n in counts.items()}})
    _table(console, rows, unit, right=list(rows[0]))
    shares = ", ".join(f"{name} {value:.3g}" for name, value in power.variances.items())
    methods = f"; of methods, by the variances {shares} of one run's difference on one patient" if shares else ""
    _say(
        console,
        "Patients that show such a true difference of this pair and region: of these networks, by the SD of their "
        f"differences, {_cell(power.sd_difference, unit)}{methods}. Printed in the report, as medians:",
        *map(_place, power.printed),
    )
