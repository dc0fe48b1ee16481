"""Scores, comparisons and what is known of a study to the blocks of its report, warnings first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from benchmark.papers import implied
from benchmark.papers import tables as papers
from benchmark.report import evidence, mask_tables, tables
from benchmark.report.document import Block, Bullets, Cell, Figure, Heading, Table, Text
from benchmark.report.material import Material
from benchmark.report.opening import cautions, findings
from benchmark.report.splits import leak_blocks
from benchmark.stats import declared_pairs, summarise


def build(material: Material, figures: Sequence[Figure], of_paper: Sequence[Block] = ()) -> list[Block]:
    """Put the whole report together; ``figures`` are those that were drawn, ``of_paper`` stand for the paper's."""
    summary = summarise(material.scores)
    blocks: list[Block] = [Heading(material.study.title or material.study.name, 1)]
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
    blocks += evidence.method_blocks(material.methods, material.study.compare, metrics, prefix)
    blocks += [*_spread(material, summary), *_masks(material)]
    if figures:
        blocks += [Heading("Figures"), *figures]
    return [*blocks, *_provenance(material)]


def _runs(material: Material) -> list[Block]:
    study, scores, compare = material.study, material.scores, material.study.compare
    ran = len(material.every_score[["bundle", "variant", "fold", "seed"]].drop_duplicates())
    pairs = compare.get("pairs", "all")
    declared = "all pairs of models" if pairs == "all" else f"{len(declared_pairs(material.models, compare))} pairs"
    test = tables.TEST_NAMES[compare["test"]]
    items = [
        f"Data: {material.manifest.get('title', study.data)} ({study.data}), "
        f"{scores['patient_id'].nunique()} patients and {scores['case_id'].nunique()} cases tested.",
        f"Runs: {ran} with scores; {len(material.models)} models, folds {_listed(study.folds)}, seeds "
        f"{_listed(study.seeds)}. Each patient is tested in one fold; patients are pooled over folds.",
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
    for names in tables.metric_groups(material.declared, scored, material.metrics):
        blocks.append(tables.comparison_table(summary, tests, names, material.metrics, material.prefix))
        own = len(tests) if names[0] in material.declared else None
        power = material.plans and evidence.power_table(material.plans, names, own, material.metrics, material.prefix)
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
