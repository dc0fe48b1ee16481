"""Write the examples of scores_and_tests.md anew from committed scores: ``python docs/examples.py``."""

import json
import math
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import kendalltau, spearmanr

from benchmark.report.document import Cell
from benchmark.report.evidence import needed, power_table
from benchmark.report.tables import correction, p_value, rule
from benchmark.scoring.lesions import HD95_PENALTY
from benchmark.scoring.metrics import METRICS, NSD_TOLERANCE
from benchmark.scoring.score_table import read, read_tidy
from benchmark.stats.compare import compare, compare_methods
from benchmark.stats.patients import patient_means
from benchmark.stats.power import patients_needed
from benchmark.stats.ranking import patient_ranks, rank_models
from benchmark.stats.seeds import TWO_LEVEL

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "scores_and_tests.md"
RATES = ROOT / "research" / "calibration" / "rates.csv"
MARKED = re.compile(r"(<!-- example (\w+) -->\n).*?(<!-- /example -->)", flags=re.DOTALL)
FEW, MANY = "brats_small", "mandekar2025/small"
"""Studies by what they have: few models under two seeds, many models under one."""
BETTER = {name: metric.better for name, metric in METRICS.items()}


def scores(study: str) -> pd.DataFrame:
    """Scores of a study by METRICS, without counts."""
    rows = _tidy(study)
    return rows[rows["metric"].isin(list(METRICS))]


@cache
def _tidy(study: str) -> pd.DataFrame:
    return read_tidy(ROOT / "reports" / study / "scores.csv")


def declared(study: str) -> dict[str, Any]:
    return _json("reports", study, "study.json")


def means(rows: pd.DataFrame, metric: str, region: str) -> pd.Series:
    """Mean over patients of each model, in order of the table."""
    own = rows[(rows["metric"] == metric) & (rows["region"] == region)]
    return patient_means(own).groupby(level="model", sort=False).mean()


def places(values: pd.Series, metric: str) -> pd.Series:
    """Rank of each model, 1 the best; what differs by rounding alone is tied."""
    return values.round(12).rank(method="min", ascending=BETTER[metric] == "lower").astype(int)


def measured(rows: pd.DataFrame) -> list[str]:
    """Metrics of a table, in the order of METRICS."""
    return [name for name in METRICS if name in set(rows["metric"])]


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], left: int = 1) -> str:
    """Markdown of a table whose first ``left`` columns are text."""
    ruled = ["---" if at < left else "---:" for at in range(len(header))]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [header, ruled, *rows])


def amount(value: float) -> str:
    return f"{value:#.3g}".rstrip(".")


def definitions() -> str:
    rows = []
    for metric in METRICS.values():
        text = " ".join(str(metric.function.__doc__).split("\n\n")[0].split())
        for name, value in {"NSD_TOLERANCE": NSD_TOLERANCE, "HD95_PENALTY": HD95_PENALTY}.items():
            text = text.replace(f"``{name}``", f"{value:g} mm")
        text = text.replace("``", "`")
        values = (metric.both_empty, metric.one_empty, metric.worst)
        rules = ["the volume's size" if value == "volume" else rule(value, metric) for value in values]
        rows.append([f"`{metric.name}`", text, metric.unit or "-", metric.better, *rules])
    header = ["Metric", "What it is", "Unit", "Better", "Both masks empty", "One empty", "Prediction missing"]
    return table(header, rows, len(header))


def background() -> str:
    found, raw = scores(MANY), read(ROOT / "reports" / MANY / "scores.csv")
    shown = {"sensitivity": 3, "specificity": 4, "accuracy": 4, "precision": 3, "dice": 3}
    rows = []
    for region in pd.unique(found["region"]):
        values = {name: means(found, name, region) for name in shown}
        order = values["sensitivity"].sort_values(kind="stable").index
        for word, model in (("lowest", order[0]), ("highest", order[-1])):
            cells = [f"{values[name][model]:.{digits}f}" for name, digits in shown.items()]
            rows.append([region, f"{word}: `{model}`", *cells])
        cases = raw[(raw["region"] == region) & (raw["tp"] + raw["fn"] > 0)].drop_duplicates("case_id")
        share = (cases["tp"] + cases["fn"]) / cases[["tp", "fp", "fn", "tn"]].sum(axis=1)
        rows.append([region, "a mask that marks nothing", "0", "1", f"{1 - share.mean():.4f}", "0", "0"])
    header = ["Region", "Model by sensitivity", *(METRICS[name].title for name in shown)]
    return f"{table(header, rows, 2)}\n\nMeans over patients, {found['model'].nunique()} models, {MANY}."


def small() -> str:
    found, sizes = scores(FEW), reference_sizes(declared(FEW)["data"], "ET")
    runs = found[(found["metric"] == "dice") & (found["region"] == "ET") & found["case_id"].isin(sizes.index)]
    dice = runs.groupby("case_id")["value"]
    sizes = sizes[sizes.index.isin(dice.groups)]
    rows = []
    for word, at in (("smallest", 0), ("median", (len(sizes) - 1) // 2), ("largest", len(sizes) - 1)):
        ml, own = float(sizes.iloc[at]), dice.get_group(sizes.index[at])
        extra = [f"{2 * ml / (2 * ml + more):.3f}" for more in (0.1, 1)]
        rows.append([word, amount(ml), *extra, f"{own.min():.3f} to {own.max():.3f}", f"{own.std():.3f}"])
    header = ["Reference ET", "ml", "Dice of a perfect mask + 0.1 ml", "+ 1 ml", "Dice of the runs", "their SD"]
    rho = spearmanr(sizes, dice.median()[sizes.index]).statistic
    return (
        f"{table(header, rows)}\n\n{len(sizes)} cases with ET, {FEW}; runs: {found['model'].nunique()} models under "
        f"{found['seed'].nunique()} seeds. Spearman's correlation of the reference's volume with the median Dice: "
        f"{rho:+.2f}."
    )


def reference_sizes(data: str, region: str) -> pd.Series:
    """Volume in ml of a region in each case's reference that has it, smallest first."""
    cases = _json("data_manifests", f"{data}.cases.json")
    labels = _json("data_manifests", f"{cases['source']}.json")["regions"][region]
    found = {
        case["case_id"]: sum(case["voxels"].get(str(label), 0) for label in labels) * math.prod(case["spacing"]) / 1000
        for case in cases["cases"]
    }
    sizes = pd.Series(found, dtype=float)
    return sizes[sizes > 0].sort_values(kind="stable")


def _json(*place: str) -> dict[str, Any]:
    return json.loads(ROOT.joinpath(*place).read_text(encoding="utf-8"))


def empty() -> str:
    rows = []
    for study in (FEW, MANY):
        found = scores(study)
        found = found[found["region"] == "ET"]
        one = found["note"].isin(["prediction empty", "reference empty"])
        hits = found[one & (found["metric"] == "hd95")].groupby("model", sort=False).size()
        scored = found[found["metric"] == "hd95"].groupby("model").size()
        every = {name: (means(found, name, "ET"), means(found[~one], name, "ET")) for name in ("hd95", "dice")}
        for model, count in hits.sort_values(ascending=False, kind="stable").head(3).items():
            cells = [f"{values[model]:.1f}" for values in every["hd95"]]
            ranks = [places(values, "hd95")[model] for values in every["hd95"]]
            own = found[(found["metric"] == "hd95") & (found["model"] == model)]
            cells += [f"{patient_means(own).median():.1f}", f"{ranks[0]} → {ranks[1]} of {len(every['hd95'][0])}"]
            cells += [f"{values[model]:.3f}" for values in every["dice"]]
            rows.append([study, f"`{model}`", f"{count} of {scored[model]}", *cells])
    if not rows:
        return f"No prediction of ET is empty on one side only in {FEW} and {MANY}."
    header = ["Study", "Model", "One mask empty", "HD95: mean", "without these", "median", "Place by mean HD95"]
    return table([*header, "Dice: mean", "without these"], rows, 2)


def distances() -> str:
    rows = []
    for study in (FEW, MANY):
        found = scores(study)
        found = found[found["note"] == ""]
        keys = ["model", "fold", "seed", "case_id", "region"]
        in_mm = [name for name in measured(found) if METRICS[name].unit == "mm"]
        wide = found[found["metric"].isin(in_mm)].set_index([*keys, "metric"])["value"].unstack("metric")
        for name in in_mm:
            own, away = wide[name], (wide[name] - wide["hd95"]).abs().max()
            furthest = "-" if name == "hd95" else f"{away:.1f}"
            rows.append([study, f"`{name}`", len(own), f"{own.mean():.1f}", f"{own.median():.1f}", furthest])
    return table(["Study", "Metric", "Pairs of masks", "Mean (mm)", "Median", "Furthest from `hd95`"], rows, 2)


def orders() -> str:
    found = scores(MANY)
    regions = list(pd.unique(found["region"]))
    rows = []
    for name in measured(found):
        cells = []
        for region in regions:
            values, dice = means(found, name, region), means(found, "dice", region)
            ranks, by_dice = places(values, name), places(dice, "dice")
            tau = kendalltau(ranks, by_dice).statistic
            cells += [f"`{ranks.idxmin()}`", by_dice[ranks.idxmin()], f"{tau:+.2f}"]
        rows.append([f"`{name}`", *cells])
    header = [cell for region in regions for cell in (f"{region}: best", "by Dice", "τ")]
    note = f"{found['model'].nunique()} models, {MANY}. By Dice: that model's place by mean Dice. τ: Kendall's tau-b of"
    return f"{table(['Metric', *header], rows)}\n\n{note} the order by this metric with the order by Dice."


def _compared() -> tuple[pd.DataFrame, dict[str, Any], str]:
    study = declared(FEW)
    primary = study["compare"]["metrics"][0]
    margin = study["check"]["margin"]
    margin = margin[primary] if isinstance(margin, dict) else margin
    return scores(FEW), study["compare"] | {"margin": {primary: margin}}, primary


def checkpoints() -> str:
    found, asked, primary = _compared()
    every = compare(found, asked | {"test": "wilcoxon"}, BETTER)
    target = asked["margin"][primary]
    needed = patients_needed(every, asked.get("alpha", 0.05), {primary: [target]})
    rows = []
    shown = needed.merge(every, on=["metric", "region", "model_a", "model_b"])
    for row in shown[(shown["metric"] == primary) & (shown["region"] == "ET")].to_dict("records"):
        rows.append(
            [f"`{row['model_a']}`", f"`{row['model_b']}`", f"{row['difference']:+.3f}", _interval(row),
             p_value(row["p"]), p_value(row["p_holm"]), f"{row['effect_size']:+.2f}", f"{row['d_z']:+.2f}",
             f"{row['p_equivalent_holm']:.2f}", row["verdict"], f"{row['patients']:.0f}"]
        )  # fmt: skip
    header = ["A", "B", "A - B", "95% CI", "p", "p (Holm)", "Effect", "d_z", "p equivalent (Holm)", "Verdict"]
    return (
        f"{table([*header, f'Patients for {target:g}'], rows, 2)}\n\n{METRICS[primary].title} of ET, {FEW}, "
        f"wilcoxon on {every['n_patients'].max()} patients, {correction(every)}, margin {target:g}."
    )


def methods() -> str:
    found, asked, primary = _compared()
    every = compare_methods(found, asked, BETTER)
    rows = []
    for row in every[(every["region"] == "ET") & (every["metric"] == primary)].to_dict("records"):
        shares = [f"{100 * row[name]:.0f} %" for name in ("share_patient", "share_seed", "share_patient_seed")]
        superior = f"{row['p_superior']:.2f} ({row['p_superior_low']:.2f} to {row['p_superior_high']:.2f})"
        rows.append(
            [f"`{row['model_a']}`", f"`{row['model_b']}`", f"{row['difference']:+.3f}", _interval(row),
             f"{row['set_low']:+.3f} to {row['set_high']:+.3f}", p_value(row["p_holm"]), row["verdict"], *shares,
             f"{100 * row['share_of_error']:.0f} %", superior]
        )  # fmt: skip
    header = ["A", "B", "A - B", "95% CI", "By set", "p (Holm)", "Verdict", "Patients", "Seeds", "Patient x seed"]
    header += ["Trainings' part of the error", "P(A beats B)"]
    return (
        f"{table(header, rows, 2)}\n\n{METRICS[primary].title} of ET, "
        f"{FEW}, {found['seed'].nunique()} seeds with {found['fold'].nunique()} folds each, {correction(every)}."
    )


def power() -> str:
    found, asked, primary = _compared()
    asked["test"] = TWO_LEVEL
    family = len(compare(found, asked, BETTER))
    shown = power_table(needed(found, asked, [primary], family), [primary], family, METRICS)
    assert shown is not None
    rows = [[cell.text if isinstance(cell, Cell) else cell for cell in row] for row in shown.rows]
    return f"{table(shown.header, rows, 1)}\n\n{FEW}, {found['patient_id'].nunique()} patients."


def planned() -> str:
    rates = pd.read_csv(RATES)
    rates = rates[rates["part"].isin(["power", "methods_power"])].assign(region=rates["scope"].str.split(" ").str[1])
    rows = []
    for test, own in rates.groupby("test", sort=False):
        found = own.groupby("region")["rate"].agg(["min", "max"])
        rows.append([f"`{test}`", *(f"{100 * low:.0f} to {100 * high:.0f} %" for low, high in found.to_numpy()[::-1])])
    return table(["Test", "Dice of WT", "Dice of ET"], rows)


def _interval(row: dict[Any, Any]) -> str:
    return f"{row['ci_low']:+.3f} to {row['ci_high']:+.3f}"


def ranking() -> str:
    found, asked, _ = _compared()
    ranked = rank_models(patient_ranks(found, asked["metrics"], BETTER))
    rows = [
        [f"`{row['model']}`", row["rank"], f"{row['mean_rank']:.2f}", f"{row['rank_low']} to {row['rank_high']}",
         f"{100 * row['p_first']:.0f} %", f"{100 * row['patients_first']:.0f} %"]
        for row in ranked.to_dict("records")
    ]  # fmt: skip
    header = ["Model", "Place", "Mean rank", "95% of resamples", "First in resamples", "First of patients"]
    tau = ranked["kendall_tau"].iloc[0]
    by = f"{FEW}, by {' and '.join(asked['metrics'])}"
    return f"{table(header, rows)}\n\n{by} over all regions. Mean Kendall's tau of the resamples: {tau:.2f}."


EXAMPLES: dict[str, Callable[[], str]] = {
    function.__name__: function
    for function in (
        definitions,
        background,
        small,
        empty,
        distances,
        orders,
        checkpoints,
        power,
        planned,
        methods,
        ranking,
    )
}


def page() -> str:
    """Text of the page, each example as the committed scores give it."""
    return MARKED.sub(lambda found: f"{found[1]}{EXAMPLES[found[2]]()}\n{found[3]}", PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
