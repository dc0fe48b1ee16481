"""Scores, comparisons and what is known of a study to the blocks of its report, warnings first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from benchmark import implied
from benchmark.metrics import METRICS
from benchmark.records import declared_name
from benchmark.report import evidence, mask_tables, tables
from benchmark.report import paper as papers
from benchmark.report.deviations import Deviation, deviations, in_words
from benchmark.report.document import Block, Bullets, Cell, Figure, Heading, Table, Text
from benchmark.report.figures import Panel
from benchmark.report.fold_cautions import fold_cautions
from benchmark.report.paper_leaks import leak_blocks
from benchmark.report.paper_values import Paper
from benchmark.stats import TWO_LEVEL, declared_pairs, summarise, with_models
from benchmark.stats.verdicts import NOT_TESTED

FEW = 50
"""Patients from which on bootstrap intervals were found to hold what they promise (reports/calibration)."""


@dataclass(frozen=True)
class Material:
    """All that a report is made from; nothing else is read.

    ``study`` is study.json, ``manifest`` the data set's, ``scores`` and ``comparisons`` are the two tables (the latter
    by ``stats.compare``), ``ranking`` is by ``stats.rank_models`` and ``methods`` by ``stats.compare_methods``, None
    where there is nothing to rank or one seed only, and ``lesions`` are counts of lesions beside ``scores``;
    ``histories`` maps a run's id to its training history, ``panels`` are cases to show, ``folds`` is the folds file,
    ``missing`` maps the id of a run without scores to the reason, ``differences`` an id of the configs to each model's
    value, ``provenance`` names to values (nested mappings are flattened); ``warnings`` are sentences on the data or the
    runs. ``apart`` are scores of what is not compared with the others: of slices, and of models under another split.
    ``paper`` holds the printed numbers of the paper that the study is on.
    """

    study: Mapping[str, Any]
    manifest: Mapping[str, Any]
    scores: pd.DataFrame
    comparisons: pd.DataFrame
    histories: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    panels: Sequence[Panel] = ()
    folds: Mapping[str, Any] | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    differences: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    ranking: pd.DataFrame | None = None
    methods: pd.DataFrame | None = None
    lesions: pd.DataFrame | None = None
    apart: pd.DataFrame | None = None
    paper: Paper | None = None
    metrics: tables.Metrics = field(default_factory=lambda: METRICS)

    @property
    def phantom(self) -> bool:
        """Whether the data were generated."""
        return self.manifest.get("source") == "phantom"

    @property
    def prefix(self) -> str:
        """What every caption opens with."""
        return tables.PHANTOM if self.phantom else ""

    @property
    def declared(self) -> list[str]:
        """Metrics that are compared, the primary one first."""
        return list(self.study["compare"]["metrics"])

    @property
    def models(self) -> list[str]:
        """Names of the declared models."""
        return [declared_name(model) for model in self.study["models"]]

    @property
    def every_score(self) -> pd.DataFrame:
        """Scores that are compared and those that are not."""
        return self.scores if self.apart is None else pd.concat([self.scores, self.apart], ignore_index=True)

    @property
    def deviations(self) -> list[Deviation]:
        """Declared deviations from the protocol, and native models' own settings."""
        return deviations(self.study, self.differences)


def build(material: Material, figures: Sequence[Figure], of_paper: Sequence[Block] = ()) -> list[Block]:
    """Put the whole report together; ``figures`` are those that were drawn, ``of_paper`` stand for the paper's."""
    summary = summarise(material.scores)
    blocks: list[Block] = [Heading(str(material.study.get("title") or material.study["name"]), 1)]
    if material.phantom:
        blocks.append(
            Text(
                "PHANTOM DATA: every number and picture here comes from generated phantom images, not from patients. "
                "They show that the software works; they say nothing about brain tumours.",
                bold=True,
            )
        )
    blocks += [Heading("Read this first"), Bullets(cautions(material)), Heading("Result in short")]
    blocks.append(Bullets(findings(material, summary)))
    if material.paper is not None:
        printed = implied.findings(material.paper.published)
        blocks += papers.sections(material.paper, of_paper, printed, material.study)
    titles = {name: metric.title for name, metric in material.metrics.items()}
    declared = [name for name in material.declared if not material.metrics[name].unit]
    # Only the paper's table of scores has counts.
    every = material.every_score if material.paper is None else material.paper.scores
    blocks += leak_blocks(every, material.study, declared, titles)
    blocks += [*_runs(material), *_comparison(material, summary)]
    metrics, prefix = material.metrics, material.prefix
    blocks += evidence.ranking_blocks(material.ranking, material.declared, metrics, prefix)
    blocks += evidence.method_blocks(material.methods, material.study["compare"], metrics, prefix)
    blocks += [*_spread(material, summary), *_masks(material)]
    if figures:
        blocks += [Heading("Figures"), *figures]
    return [*blocks, *_provenance(material)]


def cautions(material: Material) -> list[str]:
    """Sentences on what limits the trust in this report's numbers, the gravest first."""
    found = []
    if material.phantom:
        found.append("The data are a phantom: no number here may be quoted as a result on brain tumours.")
    if material.missing:
        folds = sum(len(model.get("folds", material.study["folds"])) for model in material.study["models"])
        total = folds * len(material.study["seeds"])
        found.append(f"Runs without scores: {len(material.missing)} of {total} (listed under Data and runs).")
    found += _power(material)
    if (count := material.scores["patient_id"].nunique()) < FEW:
        found.append(
            f"Bootstrap intervals on {count} patients are too narrow (simulated, one of 95% for a mean misses in 9 to "
            "34% of studies of 10 patients, and in 5 to 7% from 50 on)."
        )
    lost = material.scores[material.scores["note"] == "missing prediction"]
    if len(lost):
        found.append(f"Cases with a missing prediction, given the worst value: {lost['case_id'].nunique()}.")
    if len(material.study["seeds"]) == 1:
        found.append(
            "One seed only: how far the results depend on the seed is not known, and a difference that is shown is one "
            "of these trained networks, not of the methods."
        )
    elif material.study["compare"]["test"] != TWO_LEVEL:
        found.append(
            "The declared test is over patients alone: a difference that is shown is of these trained networks and "
            "may be the luck of training (reports/calibration). The test two_level is of the methods."
        )
    if material.deviations:
        why = str(material.study.get("deviations", "")).strip().rstrip(".")
        listed = in_words(material.deviations)
        found.append(f"The protocol was not followed in full: {listed}." + (f" Reason: {why}." if why else ""))
    found += fold_cautions(material.study, material.folds, str(material.manifest.get("source")), material.scores)
    return [*found, *dict.fromkeys([*material.manifest.get("warnings", ()), *material.warnings])]


def _power(material: Material) -> list[str]:
    weak = material.comparisons[material.comparisons["note"].astype(str).str.contains("smallest possible p")]
    if weak.empty:
        return []
    patients = f"{int(material.comparisons['n_patients'].max())} patients"
    if len(weak) == len(material.comparisons):
        first = str(weak["note"].iloc[0])
        return [f"{patients} are too few for any comparison to come out significant ({first}); a missing mark means "
                "nothing here."]  # fmt: skip
    return [
        f"{len(weak)} of {len(material.comparisons)} comparisons could not have come out significant on {patients}."
    ]


def findings(material: Material, summary: pd.DataFrame) -> list[str]:
    """One sentence a region on the primary metric: the best model, and whom it was shown to beat."""
    metric = material.metrics[material.declared[0]]
    rows, tests = summary[summary["metric"] == metric.name], material.comparisons
    sentences = []
    shown = "Shown" if material.study["compare"]["test"] == TWO_LEVEL else "As trained here, shown"
    sign, word = (1, "highest") if metric.better == "higher" else (-1, "lowest")
    for region, own in rows.groupby("region", sort=False):
        best = max(own.to_dict("records"), key=lambda row: sign * row["mean"])
        low, high = tables.number(best["ci_low"], metric), tables.number(best["ci_high"], metric)
        sentence = f"{region}: {word} mean {metric.title} by {best['model']}, {tables.number(best['mean'], metric)}"
        sentence += f" (95% CI {low} to {high})." if low != "-" else "."
        here = tests[(tests["metric"] == metric.name) & (tests["region"] == region)].to_dict("records")
        of_best = [row for row in here if best["model"] in (row["model_a"], row["model_b"])]
        own_pairs = [row for row in of_best if row["verdict"] != NOT_TESTED]
        beaten = [row for row in own_pairs if tables.verdict(row) == f"{best['model']} better"]
        names = [row["model_b"] if row["model_a"] == best["model"] else row["model_a"] for row in beaten]
        if names:
            sentence += f" {shown} to be better than {', '.join(names)}."
        open_pairs = len(own_pairs) - len(names)
        if open_pairs:
            sentence += f" No advantage was shown over {open_pairs} of {len(own_pairs)} models it was compared with."
        if untested := len(of_best) - len(own_pairs):
            sentence += f" Against {untested} models it could not be tested."
        sentences.append(sentence)
    return sentences


def _runs(material: Material) -> list[Block]:
    study, scores, compare = material.study, material.scores, material.study["compare"]
    ran = len(material.every_score[["bundle", "variant", "fold", "seed"]].drop_duplicates())
    pairs = compare.get("pairs", "all")
    declared = "all pairs of models" if pairs == "all" else f"{len(declared_pairs(material.models, compare))} pairs"
    test = tables.TEST_NAMES[compare["test"]]
    items = [
        f"Data: {material.manifest.get('title', study['data'])} ({study['data']}), "
        f"{scores['patient_id'].nunique()} patients and {scores['case_id'].nunique()} cases tested.",
        f"Runs: {ran} with scores; {len(material.models)} models, folds {_listed(study['folds'])}, seeds "
        f"{_listed(study['seeds'])}. Each patient is tested in one fold; patients are pooled over folds.",
        f"Declared in study.json: {' and '.join(compare['metrics'])}, {declared}, {test}, alpha "
        f"{compare.get('alpha', 0.05)}, Holm's correction over {len(material.comparisons)} comparisons. "
        f"{compare['metrics'][0]} is the primary metric.",
    ]
    blocks: list[Block] = [Heading("Data and runs"), Bullets(items)]
    if material.deviations:
        rows = [one[:3] for one in material.deviations]
        blocks.append(Table("Deviations from the protocol.", ["Model", "Id", "Value"], rows, wrap=True))
    if material.differences:
        blocks.append(tables.differences_table(material.differences))
    if material.missing:
        lost: list[list[str | Cell]] = [[run, reason] for run, reason in material.missing.items()]
        blocks.append(Table("Runs without scores.", ["Run", "Why"], lost, wrap=True))
    return blocks


def _comparison(material: Material, summary: pd.DataFrame) -> list[Block]:
    blocks: list[Block] = [Heading("Comparison")]
    tests, scored = material.comparisons, list(pd.unique(summary["metric"]))
    compare, family = material.study["compare"], len(tests)
    scores = with_models(material.scores)
    plans = evidence.plans(scores, compare, scored, family) if scores["model"].nunique() > 1 else None
    for names in tables.metric_groups(material.declared, scored, material.metrics):
        blocks.append(tables.comparison_table(summary, tests, names, material.metrics, material.prefix))
        own = family if names[0] in material.declared else None
        power = plans and evidence.power_table(plans, names, own, material.metrics, material.prefix)
        blocks += [power] if power else []
    if tests.empty:
        return blocks
    primary = material.metrics[material.declared[0]]
    blocks += [Heading("Declared comparisons"), tables.pairwise_table(tests, primary, material.prefix)]
    others = [_other_metric(tests, material.metrics[name]) for name in material.declared[1:]]
    overall = [
        f"Friedman's test over all models, as trained here, {material.metrics[name].title}: "
        + ", ".join(
            f"{region} p {tables.p_value(own['friedman_p'].iloc[0], relation=True)}"
            for region, own in tests[tests["metric"] == name].groupby("region", sort=False)
        )
        + "."
        for name in material.declared
        if tests.loc[tests["metric"] == name, "friedman_p"].notna().any()
    ]
    return [*blocks, Bullets([*others, *overall, "All rows are in comparisons.csv."])]


def _other_metric(tests: pd.DataFrame, metric: Any) -> str:
    own = tests[tests["metric"] == metric.name].to_dict("records")
    shown = [row for row in own if row["significant"]]
    sentence = f"{metric.title}: {len(shown)} of {len(own)} declared comparisons show a difference"
    listed = "; ".join(f"{row['region']}: {tables.verdict(row)} than {_loser(row)}" for row in shown)
    return f"{sentence} ({listed})." if shown else f"{sentence}."


def _loser(row: Mapping[Any, Any]) -> str:
    return str(row["model_b"] if row["verdict"] == "a better" else row["model_a"])


def _spread(material: Material, summary: pd.DataFrame) -> list[Block]:
    if summary["n_seeds"].max() < 2:
        return []
    return [
        Heading("Spread over seeds"),
        *[
            tables.seed_table(summary, material.declared[start : start + 2], material.metrics, material.prefix)
            for start in range(0, len(material.declared), 2)
        ],
    ]


def _masks(material: Material) -> list[Block]:
    found = set(pd.unique(material.scores["metric"]))
    scored = [name for name in material.metrics if name in found]
    counts = mask_tables.notes_table(material.scores, material.prefix)
    known: Block = counts or Text("No mask of this study was empty or full, and no prediction missing.")
    rules = mask_tables.rules_table(scored, material.metrics)
    blocks: list[Block] = [Heading("Empty masks and missing predictions"), rules, known]
    lesions = None if material.lesions is None else mask_tables.lesion_table(material.lesions, material.prefix)
    return blocks if lesions is None else [Heading("Lesions"), lesions, *blocks]


def _provenance(material: Material) -> list[Block]:
    rows: list[list[str | Cell]] = [[name, value] for name, value in _flat(material.provenance)]
    for key in ("licence", "citation", "address"):
        if material.manifest.get(key):
            rows.append([f"data {key}", str(material.manifest[key])])
    if not rows:
        return []
    return [Heading("Provenance"), Table("Where the numbers come from.", ["What", "Value"], rows, wrap=True)]


def _flat(values: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    rows = []
    for key, value in values.items():
        rows += _flat(value, f"{above}{key} ") if isinstance(value, Mapping) else [(f"{above}{key}", _listed(value))]
    return rows


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
