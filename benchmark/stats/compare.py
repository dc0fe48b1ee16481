"""Compare declared pairs of models and of methods: tests, correction over the family, and verdicts.

``a better`` and ``b better``: a difference is shown. Where none is, and a margin was declared, three more answers:
``equivalent`` (the mean difference is shown to be within the margin), ``a no worse`` or ``b no worse`` (that model is
shown not to be worse by the margin or more; it may be better), and ``no difference shown``, which proves nothing.
``not tested``: scores of one model are missing, or there are too few runs for the declared test.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from benchmark.base.records import InputError, model_name
from benchmark.stats.claims import false_claim
from benchmark.stats.families import GATED, NETWORKS, PRIMARY, families, holm, holm_claims
from benchmark.stats.intervals import FEW, difference_intervals
from benchmark.stats.paired import (
    TESTS,
    OneSided,
    cohen_dz,
    margin_of,
    paired_differences,
    rank_biserial,
    tost,
)
from benchmark.stats.patients import check_metrics, outcomes, seed_sd, with_models
from benchmark.stats.power import NEEDED
from benchmark.stats.ranking import friedman
from benchmark.stats.seeds import (
    TWO_LEVEL,
    Pair,
    components,
    estimate_pair,
    model_runs,
    pair_runs,
    set_means,
    superiority,
    two_level,
)

COMPARISON_COLUMNS = (
    *("metric", "region", "model_a", "model_b", "n_patients", "mean_a", "sd_a", "mean_b", "sd_b"),
    *("difference", "sd_difference", "ci_low", "ci_high", "test", "statistic", "p", "p_holm", "significant"),
    *("p_false", "effect_size", "d_z", "margin", "p_a_no_worse", "p_b_no_worse", "p_equivalent", "p_a_no_worse_holm"),
    *("p_b_no_worse_holm", "p_equivalent_holm", "n_ties", "n_empty", "seed_sd_a", "seed_sd_b", "friedman_p"),
    *("p_smallest", "family", "verdict", "note"),
)
"""Columns of every ``comparisons.csv``, in order. Differences and effect sizes are model a minus model b.

``p_false`` is that of the claim that the model of the better mean is better (``claims.false_claim``)."""

METHOD_COLUMNS = (
    *("metric", "region", "model_a", "model_b", "n_patients", "n_checkpoints_a", "n_checkpoints_b", "n_sets", "df"),
    *("difference", "set_low", "set_high", "ci_low", "ci_high", "statistic", "p", "p_holm", "share_patient"),
    *("share_seed", "share_patient_seed", "share_of_error", "p_superior", "p_superior_low", "p_superior_high"),
    *("p_patients_holm", "family", "verdict", "note"),
)
"""Columns of every ``methods.csv``, in order."""

NOT_TESTED, NOT_SHOWN = "not tested", "no difference shown"
AS_TRAINED = (
    "as trained: models that share fewer than two trainings are compared as these networks, by Wilcoxon's test over "
    "patients"
)
GATE_SHUT = "gate shut"
"""How the note of a gated row begins that was not tested."""

CLAIMS_SHUT = "equivalent and no worse are not claimed: not every primary comparison is shown to be equivalent"
ALIKE = ("equivalent", "a no worse", "b no worse")
"""Verdicts that two models are alike, within the margin, or one is not worse by it."""
_WHOLE_NUMBERS = ("n_patients", "n_ties", "n_empty")


def declared_pairs(models: Sequence[str], declared: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the pairs of models that ``study.json`` declares; "all" means every pair, in the order of ``models``.

    Raises:
        InputError: if a pair is not two different known models.
    """
    wanted = declared.get("pairs", "all")
    if wanted == "all":
        return list(combinations(models, 2))
    pairs = [tuple(model_name(*name.split("/", 1)) if "/" in name else name for name in pair) for pair in wanted]
    for pair in pairs:
        if len(pair) != 2 or pair[0] == pair[1] or not set(pair) <= set(models):
            raise InputError(
                f"compare.pairs names {' and '.join(pair)}: expected two different models of {', '.join(models)}."
            )
    return [(first, second) for first, second in pairs]


def as_networks(
    scores: pd.DataFrame, metrics: Sequence[str], pairs: Sequence[tuple[str, str]], outside: Collection[str]
) -> list[tuple[str, str]]:
    """Return the pairs with one of the ``outside`` models that share too few runs to be compared as methods."""
    first = next(outcomes(scores, metrics), None) if outside else None
    if first is None:
        return []
    _, _, rows, values = first
    runs = model_runs(rows, values.index)
    there = [pair for pair in pairs if not set(pair).isdisjoint(outside) and set(pair) <= set(runs)]
    return [(a, b) for a, b in there if not estimate_pair(pair_runs(runs[a], runs[b]), True)[0].sets_df]


def compare(
    scores: pd.DataFrame,
    declared: Mapping[str, Any],
    better: Mapping[str, str],
    models: Sequence[str] | None = None,
    outside: Collection[str] = (),
) -> pd.DataFrame:
    """Test every declared pair of models in every region and metric over patients, as COMPARISON_COLUMNS.

    ``declared`` is ``compare`` of ``study.json``: metrics, pairs, test (of TESTS), alpha, margin (one number, or one
    per metric, in its unit) and primary (``stats.families``). ``better`` maps a metric to "higher" or "lower".
    ``models`` are the declared models where some have no scores yet: their pairs stay in their family with p = 1.
    Without a primary family all regions x metrics x pairs are one. Without a margin the columns of equivalence are
    NaN, and no verdict speaks of it. ``outside`` are models that no run of the study trained: where the test is
    ``two_level``, a pair with one of them that shares too few runs is tested by Wilcoxon's test, in the family
    ``NETWORKS``.

    >>> import benchmark, pandas as pd
    >>> dice = {"unet": [0.71, 0.64, 0.82, 0.75, 0.58, 0.79], "nnunet": [0.74, 0.70, 0.83, 0.79, 0.63, 0.81]}
    >>> rows = [(model, f"P{place}", value) for model in dice for place, value in enumerate(dice[model])]
    >>> scores = pd.DataFrame(rows, columns=["bundle", "patient_id", "value"]).assign(
    ...     variant="default", fold=0, seed=1, case_id=lambda table: table["patient_id"], region="WT", metric="dice",
    ...     metric_version="1", note="")
    >>> (row,) = benchmark.compare(scores, {"metrics": ["dice"]}, {"dice": "higher"}).to_dict("records")
    >>> row["model_a"], row["model_b"], round(row["difference"], 3), row["p"], row["verdict"]
    ('unet', 'nnunet', -0.035, 0.03125, 'b better')

    Raises:
        InputError: if a declared metric, pair, test, margin or part of the primary family is unknown, or the models
            were scored on different cases.
    """
    name = declared.get("test", "wilcoxon")
    if name not in (*TESTS, TWO_LEVEL):
        raise InputError(f"compare.test is {name}: expected one of {', '.join((*TESTS, TWO_LEVEL))}.")
    table = with_models(scores)
    pairs = declared_pairs(list(models or pd.unique(table["model"])), declared)
    check_metrics(table, declared["metrics"], better)
    networks = as_networks(table, declared["metrics"], pairs, outside) if name == TWO_LEVEL else []
    return _compare(table, declared, better, (pairs, networks), outside)


def _compare(
    table: pd.DataFrame,
    declared: Mapping[str, Any],
    better: Mapping[str, str],
    pairs: tuple[Sequence[tuple[str, str]], Sequence[tuple[str, str]]],
    outside: Collection[str],
) -> pd.DataFrame:
    """Test pairs, of which the second ones are compared as networks, as ``compare`` does; these come last."""
    name, networks = declared.get("test", "wilcoxon"), [*pairs[1]]
    methods = [pair for pair in pairs[0] if pair not in networks]
    margins = {metric: margin_of(declared.get("margin"), metric) for metric in declared["metrics"]}
    parts: list[pd.DataFrame] = []
    for metric, region, rows, values in outcomes(table, declared["metrics"]) if pairs[0] else ():
        for some, test in ((methods, name), (networks, "wilcoxon" if name == TWO_LEVEL else name)):
            base = {"metric": metric, "region": region, "test": test, "margin": margins[metric]}
            if some:
                parts.append(_compare_region(rows, values, some, base, better[metric] == "higher", outside))
    found = (pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()).reindex(columns=[*COMPARISON_COLUMNS])
    family = families(found, declared)
    family[[pair in networks for pair in zip(found["model_a"], found["model_b"], strict=True)]] = NETWORKS
    return judge(found.assign(family=family), float(declared.get("alpha", 0.05)), better)


def paired_spreads(
    scores: pd.DataFrame, metrics: Sequence[str], pairs: Sequence[tuple[str, str]], test: str
) -> pd.DataFrame:
    """Return the columns that ``patients_needed`` reads, for any metric, declared or not, without testing anything."""
    parts = []
    for metric, region, _, values in outcomes(scores, metrics):
        first, second = (values[[pair[side] for pair in pairs]].to_numpy().T for side in (0, 1))
        part = pd.DataFrame(pairs, columns=["model_a", "model_b"])
        spread = _spread(paired_differences(first, second))
        parts.append(part.assign(metric=metric, region=region, test=test, n_patients=len(values), sd_difference=spread))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*NEEDED])


def _compare_region(
    rows: pd.DataFrame,
    values: pd.DataFrame,
    pairs: list[tuple[str, str]],
    base: dict[str, Any],
    higher: bool,
    outside: Collection[str] = (),
) -> pd.DataFrame:
    """Return rows of COMPARISON_COLUMNS for one metric and region, before correction and verdicts."""
    names, table = list(values.columns), values.to_numpy().T
    # What stands for a pair without scores.
    no_claim = dict.fromkeys(("p_a_no_worse", "p_b_no_worse", "p_equivalent"), 1.0 if base["margin"] > 0 else np.nan)
    result = pd.DataFrame(pairs, columns=["model_a", "model_b"]).assign(
        **base, friedman_p=friedman(table.T)[1], n_patients=0.0, p=1.0, p_smallest=1.0, **no_claim
    )
    result["note"] = [_absent(pair, names) for pair in pairs]
    known = result["note"] == ""
    if not known.any():
        return result
    a, b = (np.array([names.index(model) for model in result.loc[known, side]]) for side in ("model_a", "model_b"))
    differences = paired_differences(table[a], table[b])
    spread, means, seeds = _spread(table), table.mean(axis=1), seed_sd(rows).reindex(names).to_numpy()
    mean, of_difference = differences.mean(axis=1), _spread(differences)
    found = {
        "n_patients": table.shape[1], "mean_a": means[a], "sd_a": spread[a], "mean_b": means[b], "sd_b": spread[b],
        "difference": mean, "sd_difference": of_difference,
        "p_false": false_claim(np.abs(mean), of_difference, table.shape[1]),
        "effect_size": rank_biserial(differences), "d_z": cohen_dz(differences),
        "n_ties": (differences == 0).sum(axis=1), "n_empty": _noted(rows, result[known]),
        "seed_sd_a": seeds[a], "seed_sd_b": seeds[b],
    }  # fmt: skip
    if base["test"] == TWO_LEVEL:
        found |= two_level(rows, values.index, result.loc[known, ["model_a", "model_b"]], base["margin"], outside)
    else:
        found |= TESTS[base["test"]](differences)._asdict() | tost(differences, base["margin"])._asdict()
        found["ci_low"], found["ci_high"] = difference_intervals(table, a, b, differences)
    one_sided = OneSided(found.pop("above"), found.pop("below"))
    found["p_a_no_worse"], found["p_b_no_worse"] = one_sided if higher else one_sided[::-1]
    found["p_equivalent"] = one_sided.equivalent
    for column, column_values in found.items():
        result.loc[known, column] = column_values
    return result


def _absent(pair: tuple[str, str], names: Collection[str]) -> str:
    absent = [model for model in pair if model not in names]
    return f"no scores of {' and '.join(absent)}" if absent else ""


def _noted(rows: pd.DataFrame, pairs: pd.DataFrame) -> list[int]:
    """Count the cases whose score carries a note under either model of each pair."""
    noted = rows[rows["note"] != ""]
    models = zip(pairs["model_a"], pairs["model_b"], strict=True)
    return [noted.loc[noted["model"].isin(pair), "case_id"].nunique() for pair in models]


def _spread(table: np.ndarray) -> np.ndarray:
    """Return the standard deviation (n - 1) of each row; NaN below two values."""
    return table.std(axis=1, ddof=1) if table.shape[1] > 1 else np.full(len(table), np.nan)


def judge(table: pd.DataFrame, alpha: float, better: Mapping[str, str]) -> pd.DataFrame:
    """Correct the p values of all rows, the gated family behind the primary one, and write notes and verdicts.

    In both families together the risk of any false difference is at most ``alpha``, and so is that of any false claim
    of equivalence or of being no worse. ``better`` maps a metric to "higher" or "lower".
    """
    if table.empty:
        return table
    table = table.astype({column: int for column in _WHOLE_NUMBERS if table[column].notna().all()})
    family = table["family"].to_numpy()
    table["p_holm"] = holm(table["p"].to_numpy(), family, alpha)
    table["significant"] = table["p_holm"] < alpha
    one_sided = holm_claims(OneSided(table["p_a_no_worse"].to_numpy(), table["p_b_no_worse"].to_numpy()), family, alpha)
    table["p_a_no_worse_holm"], table["p_b_no_worse_holm"] = one_sided
    table["p_equivalent_holm"] = one_sided.equivalent
    own = table.groupby("family")
    # Where even the smallest p times the size of the family misses alpha, no test of it can come out.
    sizes, smallest = own["p"].transform("size"), own["p_smallest"].transform("min")
    table["note"] = [
        _note(row, alpha, min(1.0, least * size), size)
        for row, least, size in zip(table.to_dict("records"), smallest, sizes, strict=True)
    ]
    table["note"] = _with_gate(table, alpha)
    table["verdict"] = [_verdict(row, alpha, better[row["metric"]]) for row in table.to_dict("records")]
    alike = table["verdict"].isin(ALIKE) & (table["n_patients"] < FEW)
    table.loc[alike, "note"] = _joined(table.loc[alike, "note"]) + table.loc[alike, "n_patients"].map(unseen)
    # Where the primary family shows differences, the gate of these claims is shut though that of differences is open.
    networks = table["family"] == NETWORKS
    table.loc[networks, "note"] = _joined(table.loc[networks, "note"]) + AS_TRAINED
    primary = table.loc[table["family"] == PRIMARY, "p_equivalent_holm"]
    closed = (table["family"] == GATED) & (table["verdict"] == NOT_SHOWN) & table["p_equivalent"].notna()
    if (primary >= alpha).any():
        table.loc[closed, "note"] = _joined(table.loc[closed, "note"]) + CLAIMS_SHUT
    return table


def _joined(notes: pd.Series) -> pd.Series:
    """Notes, each ready for one more after it."""
    return notes.where(notes == "", notes + "; ")


def _with_gate(table: pd.DataFrame, alpha: float) -> pd.Series:
    """Add to the notes of gated rows why their p is 1, where the primary family did not open their gate."""
    primary = table[table["family"] == PRIMARY]
    shut = int((primary["p_holm"] >= alpha).sum())
    if not shut:
        return table["note"]
    gate = f"{GATE_SHUT}: {shut} of {len(primary)} primary comparisons show no difference, so that the corrected p is 1"
    return table["note"].where(table["family"] != GATED, _joined(table["note"]) + gate)


def gate_shut(row: Mapping[Any, Any]) -> bool:
    """Say whether a row of ``judge`` was never tested for a difference, as its gate stayed shut; its note has it."""
    return GATE_SHUT in str(row.get("note", ""))


def unseen(patients: float) -> str:
    """Say what equivalence on so many patients leaves open: a share of others that none of them shows, with 95%."""
    share = 1 - 0.05 ** (1 / patients)
    return (
        f"equivalent or no worse on {patients:.0f} patients: a kind of patient that is up to {100 * share:.0f} % of "
        "all may not be among them"
    )


def _winner(difference: float, better: str) -> str:
    return "a better" if (difference > 0) == (better == "higher") else "b better"


def _direction(row: Mapping[Any, Any]) -> float:
    return float(row["effect_size"] if row["test"] == "wilcoxon" else row["difference"])


def _verdict(row: Mapping[Any, Any], alpha: float, better: str) -> str:
    if row["p_smallest"] >= 1 and pd.isna(row["ci_low"]):
        return NOT_TESTED
    if row["significant"]:
        return _winner(_direction(row), better)
    claims = {"equivalent": "p_equivalent_holm", "a no worse": "p_a_no_worse_holm", "b no worse": "p_b_no_worse_holm"}
    return next((claim for claim, p in claims.items() if row[p] < alpha), NOT_SHOWN)


def _note(row: Mapping[Any, Any], alpha: float, floor: float, family: int) -> str:
    if row["note"]:
        return str(row["note"])
    if row["n_ties"] == row["n_patients"]:
        return "all differences are zero"
    smallest = f"smallest possible p is {row['p_smallest']:.3g}"
    if row["p_smallest"] >= alpha:
        few = f"only {row['n_patients'] - row['n_ties']:.0f} non-zero differences" if row["n_ties"] else "n too small"
        return f"{few}: {smallest}"
    if floor >= alpha:
        return f"n too small: {smallest}, {floor:.3g} after Holm over {family} tests"
    if row["ci_low"] == row["ci_high"]:
        return "all differences are equal: the interval is that one value"
    if row["significant"] and _direction(row) * row["difference"] < 0:
        return "ranks and mean point in opposite directions"
    if row["significant"] and row["p_equivalent_holm"] < alpha:
        return f"a difference is shown, and shown to be within the margin of {row['margin']:g}"
    return ""


def compare_methods(
    scores: pd.DataFrame,
    declared: Mapping[str, Any],
    better: Mapping[str, str],
    models: Sequence[str] | None = None,
    outside: Collection[str] = (),
) -> pd.DataFrame:
    """Test every declared pair as methods, newly trained on such data and used on new patients, as METHOD_COLUMNS.

    Arguments are those of ``compare``. ``difference`` is a minus b with its 95% interval and p over patients and
    training sets (``seeds.estimate``), Holm's as in ``compare``; ``n_sets`` training sets are shared by both models,
    ``df`` are the degrees of freedom of their part of the error, and ``set_low`` and ``set_high`` the lowest and
    highest mean difference of those that one of them tested. ``share_patient``, ``share_seed`` and
    ``share_patient_seed`` split the variance of the difference of one run each on one patient: differences between
    patients, the luck of training shared by all patients, and that on single patients; ``share_of_error`` is the part
    of the mean difference's variance that more trainings on sets of their own would lower. ``p_superior`` is the
    probability that a beats b on a new patient, both newly trained. ``p_patients_holm`` is Holm's p of the declared
    test over patients alone, or of Wilcoxon's where the declared one is ``two_level``: it is about these networks. With
    one training set all but that, the difference and the share of wins is NaN, as ``note`` says, and p counts as 1.
    Pairs that ``compare`` tests as networks only are not in it.
    """
    alpha = float(declared.get("alpha", 0.05))
    table = with_models(scores)
    pairs = declared_pairs(list(models or pd.unique(table["model"])), declared)
    networks = as_networks(table, declared["metrics"], pairs, outside)
    methods = [pair for pair in pairs if pair not in networks]
    found: list[dict[str, Any]] = []
    for metric, region, rows, values in outcomes(table, declared["metrics"]):
        own = model_runs(rows, values.index)
        for a, b in methods:
            row = {"metric": metric, "region": region, "model_a": a, "model_b": b, "p": 1.0}
            row["note"] = _absent((a, b), own)
            one = {a, b}.isdisjoint(outside), better[metric] == "higher"
            found.append(row if row["note"] else row | _method_row(pair_runs(own[a], own[b]), *one))
    result = pd.DataFrame(found).reindex(columns=[*METHOD_COLUMNS])
    test = "wilcoxon" if declared.get("test") == TWO_LEVEL else declared.get("test", "wilcoxon")
    # Both tables have a row for every declared metric, region and pair, in the declared order.
    of_patients = _compare(table, {**declared, "test": test}, better, (pairs, networks), outside)
    of_patients = of_patients[of_patients["family"] != NETWORKS].reset_index(drop=True)
    result["family"] = of_patients["family"]
    result["p_holm"] = holm(result["p"].to_numpy(), result["family"].to_numpy(), alpha)
    result["p_patients_holm"] = of_patients["p_holm"]
    result["verdict"] = [_method_verdict(row, alpha, better) for row in result.to_dict("records")]
    return result


def _method_row(own: Pair, trained_here: bool, higher: bool) -> dict[str, Any]:
    (found, note), parts, sets = estimate_pair(own, not trained_here), components(own), set_means(own)
    low, high = found.interval()
    share, share_low, share_high = superiority(own, higher)
    total, error, count = sum(parts), found.variance, len(own.first)
    shares = [part / total if total > 0 else float("nan") for part in parts]
    return {
        "n_patients": count, "n_checkpoints_a": own.first.shape[1], "n_checkpoints_b": own.second.shape[1],
        "n_sets": len(sets), "df": found.sets_df,
        "set_low": min(sets, default=np.nan), "set_high": max(sets, default=np.nan),
        "difference": found.mean, "ci_low": low, "ci_high": high, "statistic": found.statistic, "p": found.p,
        "share_patient": shares[0], "share_seed": shares[1], "share_patient_seed": shares[2],
        "share_of_error": max(0.0, 1 - parts.patient / count / error) if error > 0 else float("nan"),
        "p_superior": share, "p_superior_low": share_low, "p_superior_high": share_high,
        "note": note,
    }  # fmt: skip


def _method_verdict(row: Mapping[Any, Any], alpha: float, better: Mapping[str, str]) -> str:
    if pd.isna(row["ci_low"]):
        return NOT_TESTED
    return _winner(row["difference"], better[row["metric"]]) if row["p_holm"] < alpha else NOT_SHOWN
