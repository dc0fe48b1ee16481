"""Write the rates of the simulation as Markdown tables."""

from __future__ import annotations

import pandas as pd

ORDER = (
    *("shuffled", "shuffled_networks", "no_shift", "third_differs"),
    *("shift", "shift_upper", "shift_sets", "shift_gap", "shared_folds", "shared_sets", "shift_seeds"),
    *("shift_methods", "shift_unequal", "third_differs_shift"),
)
NULLS = {"nulls", "partial", "missing"}
EQUIVALENCE = {"equivalence", "equivalent_methods"}
INTERVALS = {"intervals", "superiority"}


def markdown(rates: pd.DataFrame) -> str:
    """Return every table, the ones that decide first. A rate in bold breaks a promise; one in brackets made none."""
    part, family = rates["part"], rates["scope"] == "family"
    single = rates[part.isin(NULLS) & ~family]
    worst = single.loc[single.groupby(["design", "test", "n_seeds", "n_patients"])["rate"].idxmax()]
    sections = (
        ("False differences in a family of 18 tests after Holm", _wide, rates[part.isin(NULLS) & family]),
        ("False differences of one test, its worst outcome of three", _wide, worst),
        ("Planted differences found", _long, rates[part.isin(["power", "methods_power", "pilot", "seeds"])]),
        ("Called equivalent at a true difference of the margin", _by_scope, rates[part.isin(EQUIVALENCE)]),
        ("Checks that fail by failed patients where nothing got worse", _by_scope, rates[part == "check"]),
        ("95% intervals that miss", _by_scope, rates[part.isin(INTERVALS)]),
    )
    head = (
        "# Rates\n\n**Bold**: beyond its promise by more than chance (99% Wilson interval). (In brackets): no promise "
        "is made there. Alpha is 0.05, the promised power 0.8. README.md says what the designs are.\n"
    )
    return "\n".join([head, *(f"## {title}\n\n{show(rows)}" for title, show, rows in sections if len(rows))])


def _cell(row: pd.Series) -> str:
    text = f"{row['rate']:.3f}"
    if not row["promised"]:
        return f"({text})"
    return text if row["passes"] else f"**{text}**"


def _table(rows: pd.DataFrame, keys: list[str]) -> str:
    cells = rows.assign(cell=rows.apply(_cell, axis=1), design=pd.Categorical(rows["design"], _known(rows)))
    wide = cells.pivot_table(index=keys, columns="n_patients", values="cell", aggfunc="first", observed=True)
    head = [*keys, *(f"{n} patients" for n in wide.columns)]
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    for index, values in wide.fillna("").iterrows():
        lines.append(" | ".join(map(str, [*(index if isinstance(index, tuple) else [index]), *values])))
    return "\n".join(f"| {line} |" for line in lines) + "\n"


def _known(rows: pd.DataFrame) -> list[str]:
    found = list(pd.unique(rows["design"]))
    return [*(name for name in ORDER if name in found), *(name for name in found if name not in ORDER)]


def _wide(rows: pd.DataFrame) -> str:
    return _table(rows.rename(columns={"n_seeds": "seeds"}), ["design", "test", "seeds"])


def _by_scope(rows: pd.DataFrame) -> str:
    return _table(rows.rename(columns={"n_seeds": "seeds"}), ["design", "test", "scope", "seeds"])


def _long(rows: pd.DataFrame) -> str:
    lines = ["planted | test | seeds | patients | found", "--- | --- | --- | --- | ---"]
    for _, row in rows.iterrows():
        lines.append(f"{row['scope']} | {row['test']} | {row['n_seeds']} | {row['n_patients']} | {_cell(row)}")
    return "\n".join(f"| {line} |" for line in lines) + "\n"
