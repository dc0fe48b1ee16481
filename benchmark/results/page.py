"""Compose a study's report from its results, draw its figures, and write both."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.base.files import write_json, write_text
from benchmark.base.records import number_of
from benchmark.papers import figures as paper_figures
from benchmark.papers import implied
from benchmark.papers import tables as papers
from benchmark.papers.claims import TITLE as CLAIMS
from benchmark.papers.claims import box
from benchmark.report import costs, evidence, figures, other_tests, probabilities, tables
from benchmark.report.document import (
    CELL_COLUMNS,
    Block,
    Bullets,
    Figure,
    Heading,
    Table,
    Text,
    in_order,
    keyed_cells,
    say_once,
    to_pages,
)
from benchmark.report.failures import failure_blocks
from benchmark.report.latex import to_latex
from benchmark.report.splits import split_blocks
from benchmark.report.tuned import TITLE as TUNED
from benchmark.report.tuned import tuned_blocks
from benchmark.results import web
from benchmark.results.opening import EVERYONE, SETTINGS, cautions, deviations, findings, plateaus, reworded
from benchmark.results.results import Results
from benchmark.scoring.metrics import Metric
from benchmark.stats.compare import declared_pairs
from benchmark.stats.estimates import patient_counts
from benchmark.stats.families import GATED, PRIMARY, family_sizes
from benchmark.stats.patients import summarise
from benchmark.studies.study import Study

IN_SHORT = frozenset(
    (
        *("Read this first", "Result in short", "Data and runs", "Data and models"),
        *("Comparison", "Declared comparisons", TUNED, "Figures"),
    )
)
"""Sections of every report; all that it has besides these and those on a paper stand in the appendix."""
OF_PAPER = frozenset(
    (
        *(CLAIMS, "Read this first", "Result in short", "The paper's tables", "The paper's figures"),
        *("What the printed numbers imply", "One model under two splits", TUNED, "Data and runs", "Figures"),
    )
)
"""Sections of the report of a study on a paper, whose claims say what the declared comparisons show."""
FIRST_FIGURES = ("boxplot_", "differences_", "training_sets_", "panels_", "case_")
"""How the names of figures begin that stand in the report and not in its appendix."""
PHANTOM = (
    "PHANTOM DATA: every number and picture here comes from generated phantom images, not from patients. They show "
    "that the software works; they say nothing about brain tumours."
)
LISTED = 6
"""Differences up to which a sentence names them; the table has them all."""
MOST_PAIRS = 40
"""Pairs of models from which on those of single runs are not drawn: nobody reads such a figure."""
MOST_ROWS = 80
"""Comparisons by one metric from which on they are not drawn; the table has them all."""
DIFFERENCES = (
    "declared paired differences, each with its own 95% interval, which is not corrected, and beside it p after Holm's "
    "correction."
)


def write(results: Results, folder: Path, private_figures: Path | None = None, formats: Sequence[str] = ()) -> Path:
    """Write figures, what ``record`` writes, report.tex, report.html, appendix.md and report.md; return its path.

    Where the manifest does not allow pictures of scans to be published, panels go to ``private_figures``, outside the
    report, or are not drawn at all. ``formats`` are those of ``figures.FORMATS`` that figures are written in too.
    """
    with figures.also(formats):
        drawn = _draw_panels(results, folder, private_figures) + _draw_cases(results, folder, private_figures)
    # The page for a browser holds drawings; they stay as files only where these are wanted.
    with figures.also(list(dict.fromkeys(["svg", *formats]))):
        drawn = _draw_numbers(results, folder / "figures") + drawn
        blocks = build(results, drawn, *beside_paper(results, folder, private_figures))
    record(results, blocks, folder)
    web.write(results, blocks, folder, private_figures)
    for path in (folder / "figures").glob("*.svg") if "svg" not in formats else ():
        path.unlink()
    write_text(folder / "report.tex", to_latex(blocks))
    for name, text in to_pages(blocks).items():
        write_text(folder / name, text)
    return folder / "report.md"


def record(results: Results, blocks: Sequence[Block], folder: Path) -> None:
    """Write cells.csv, a report's numbers by what they show, and report.json, the hashes of what it is made from."""
    cells, labels = pd.DataFrame(keyed_cells(blocks), columns=list(CELL_COLUMNS)), list(CELL_COLUMNS[:-1])
    # A spreadsheet would run a label that begins like a formula, as the row "+ Dice loss only" of a paper does.
    cells[labels] = cells[labels].replace("^(?=[=+@-])", "'", regex=True)
    write_text(folder / "cells.csv", cells.to_csv(index=False, lineterminator="\n"))
    write_json(folder / "report.json", {"verdict": web.verdict(results), "made_from": results.files(folder)})


def build(
    results: Results, drawn: Sequence[Figure], claims: Sequence[Block] = (), of_paper: Sequence[Block] = ()
) -> list[Block]:
    """Put the report together, and after it its appendix.

    ``drawn`` are its figures, ``claims`` and ``of_paper`` what is beside a paper.
    """
    study = results.study
    blocks: list[Block] = [Heading(study.title or study.name, 1)]
    if results.phantom:
        blocks.append(Text(PHANTOM, bold=True))
    blocks += [*claims, Heading("Read this first"), Bullets(cautions(results))]
    blocks += [Heading("Result in short"), Bullets(findings(results)), *of_paper]
    metrics, declared = results.metrics, study.compare["metrics"]
    titles = {name: metric.title for name, metric in metrics.items()}
    shares = [name for name in declared if not metrics[name].unit]
    blocks += [*split_blocks(results.every, study, shares, titles), *_runs(results), *_settings(results)]
    of_scores = [*_comparison(results), *_tuned(results)]
    of_scores += evidence.ranking_blocks(results.ranking, declared, metrics)
    of_scores += evidence.method_blocks(results.methods, study.compare, metrics)
    primary = metrics[declared[0]]
    of_scores += evidence.sensitivity_blocks(results.sensitivity, results.comparisons, primary)
    of_scores += [*_spread(results), *_probabilities(results)]
    if lesions := tables.lesion_table(results.lesions, results.manifest.lesions):
        of_scores += [Heading("Lesions"), lesions]
    of_scores += failure_blocks(results.failures, primary)
    of_scores += other_tests.blocks(results.other_tests, study.other_tests, metrics)
    of_scores += costs.blocks(results.costs)
    if others := _tables(results, declared=False):
        of_scores += [Heading("Metrics that were not declared for comparison"), *others]
    there = set(pd.unique(results.scores["metric"]))
    rules = tables.rules_table([name for name in metrics if name in there], metrics)
    known = tables.notes_table(results.scores) or Text(
        "No mask of this study was empty or full, and no prediction missing."
    )
    blocks += [*_marked(results, of_scores), Heading("Empty masks and missing predictions"), rules]
    blocks += [*_marked(results, [known, *_pictures(results, drawn)]), *_provenance(results)]
    blocks = say_once(_of_predictions(results, blocks))
    return in_order(_placed(blocks, OF_PAPER if results.paper else IN_SHORT))


def _placed(blocks: Sequence[Block], short: Collection[str]) -> list[Block]:
    """Mark each section for the appendix but those named as ``short``."""
    return [
        replace(block, appendix=block.text not in short) if isinstance(block, Heading) and block.level == 2 else block
        for block in blocks
    ]


def _pictures(results: Results, drawn: Sequence[Figure]) -> list[Block]:
    found: list[Block] = []
    for title, first in (("Figures", True), ("Further figures", False)):
        own = [one for one in drawn if Path(one.path).name.startswith(FIRST_FIGURES) == first]
        found += [Heading(title), *(_names(results) if first else []), *own] if own else []
    return found


def _of_predictions(results: Results, blocks: Sequence[Block]) -> list[Block]:
    """Take out what is said of trainings and seeds where nothing was trained here; other blocks stay as they are."""
    if results.trains:
        return [*blocks]
    found: list[Block] = []
    for block in blocks:
        match block:
            case Bullets(items):
                block = Bullets([reworded(results, item) for item in items])
            case Table():
                header, notes = ([reworded(results, text) for text in texts] for texts in (block.header, block.notes))
                block = replace(block, header=header, notes=notes)
            case Figure():
                block = replace(block, caption=reworded(results, block.caption))
        found.append(block)
    return found


def _names(results: Results) -> list[Block]:
    said = ", ".join(f"{shown} is {name}" for name, shown in results.names.items())
    return [Text(f"Names in figures: {said}.")] * bool(said)


def _marked(results: Results, blocks: Sequence[Block]) -> list[Block]:
    """Open the captions of what is made from scores by a warning, where these are of a phantom."""
    return [
        replace(block, caption=tables.PHANTOM + block.caption)
        if results.phantom and isinstance(block, Table | Figure) else block
        for block in blocks
    ]  # fmt: skip


def _partitions(study: Study) -> str:
    if len(study.splits_of(study.split)) > 1:
        return "Each seed deals the patients into folds anew; patients are pooled over folds and seeds."
    return "Each patient is tested in one fold; patients are pooled over folds."


def _runs(results: Results) -> list[Block]:
    study, scores, compare = results.study, results.scores, results.study.compare
    of_runs = (scores[~scores["model"].isin(results.ensembles)], results.apart)
    keys = [table[["bundle", "variant", "fold", "seed"]].drop_duplicates() for table in of_runs]
    ran = len(pd.concat(keys).drop_duplicates())
    pairs = compare.get("pairs", "all")
    declared = (
        "all pairs of models"
        if pairs == "all"
        else number_of(len(declared_pairs(results.compared_models, compare)), "pair")
    )
    test = tables.TEST_NAMES[compare["test"]]
    what = (
        f"Runs: {ran} with scores; {number_of(len(results.models), 'model')}, folds {_listed(study.folds)}, seeds "
        f"{_listed(study.seeds)}. {_partitions(study)}"
        if results.trains
        else f"Models: {len(results.compared_models)}, by {ran} sets of predictions or scores (see Provenance)."
    )
    items = [
        f"Data: {results.manifest.title} ({study.data}), {number_of(scores['patient_id'].nunique(), 'patient')} and "
        f"{number_of(scores['case_id'].nunique(), 'case')} tested.",
        what,
        *_dimensions(results),
        f"{'Declared' if results.trains else 'Asked for'} in study.json: {' and '.join(compare['metrics'])}, "
        f"{declared}, {test}, alpha {compare.get('alpha', 0.05)}, {tables.correction(results.comparisons)}. "
        f"{compare['metrics'][0]} is the primary metric.",
    ]
    return [Heading("Data and runs" if results.trains else "Data and models"), Bullets(items)]


def _dimensions(results: Results) -> list[str]:
    """Say which models are trained in 3D, where any is."""
    deep = {name: config for name, config in results.configs.items() if config.get("spatial_dims") == 3}
    if not deep:
        return []
    sizes = {name: config.get("spatial_size") for name, config in deep.items()}
    named = [
        f"{name} ({' x '.join(map(str, size))} voxels)" if isinstance(size, list) else f"{name} (as planned)"
        for name, size in sizes.items()
    ]
    others = "" if len(deep) == len(results.configs) else "; all others in 2D, slice by slice"
    return [f"Trained and applied in 3D, patch by patch: {', '.join(named)}{others}."]


def _settings(results: Results) -> list[Block]:
    """How each model was trained, what differs from the protocol and between models, and the runs that are missing."""
    blocks: list[Block] = []
    if kinds := plateaus(results):
        said = "; ".join(f"{name}, {_endings(own)}" for name, own in kinds.items())
        blocks.append(Bullets([f"How trainings ended: {said}."]))
    if not results.trains:
        return blocks
    changed: dict[tuple[str, str], list[str]] = {}
    for one in deviations(results.study, results.differences):
        if one.model.startswith(EVERYONE) or one.key.partition("#")[0] not in results.differences:
            changed.setdefault((one.key, one.value), []).append(one.model)
    if rows := [(", ".join(models), *what) for what, models in changed.items()]:
        blocks.append(Table("Deviations from the protocol.", ["Model", "Id", "Value"], rows, wrap=True))
    if results.differences:
        blocks.append(tables.differences_table(results.differences))
    if results.missing:
        blocks.append(Table("Runs without scores.", ["Run", "Why"], list(results.missing.items()), wrap=True))
    return [Heading(SETTINGS), *blocks] if blocks else []


def _endings(kinds: Sequence[str]) -> str:
    runs = [f"{kind or 'no plateau'} in {kinds.count(kind)}" for kind in dict.fromkeys(kinds)]
    return f"{', '.join(runs)} of {len(kinds)} runs"


def _comparison(results: Results) -> list[Block]:
    tests, metrics, declared = results.comparisons, results.metrics, results.study.compare["metrics"]
    blocks: list[Block] = [Heading("Comparison"), *_tables(results, declared=True)]
    if tests.empty:
        return blocks
    blocks += [Heading("Declared comparisons"), tables.pairwise_table(tests, metrics[declared[0]])]
    others = [_other_metric(tests, metrics[name]) for name in declared[1:]]
    overall = [
        f"Friedman's test over all models, as trained here, {metrics[name].title}: "
        + ", ".join(
            f"{region} p {tables.p_value(own['friedman_p'].iloc[0], relation=True)}"
            for region, own in tests[tests["metric"] == name].groupby("region", sort=False)
        )
        + "."
        for name in declared
        if tests.loc[tests["metric"] == name, "friedman_p"].notna().any()
    ]
    power = results.needed and evidence.power_table(results.needed, declared, family_sizes(tests), metrics)
    return [*blocks, Bullets([*others, *overall, "All rows are in comparisons.csv."]), *([power] if power else [])]


def _tables(results: Results, declared: bool) -> list[Block]:
    """Tables of means, of the metrics that were declared for comparison or of those that were not."""
    summary, metrics, first = results.summary, results.metrics, results.study.compare["metrics"]
    found, joined = list[Block](), summarise(results.ensemble_scores)
    for names in tables.metric_groups(first, list(pd.unique(summary["metric"])), metrics):
        if (names[0] in first) == declared:
            table = tables.comparison_table(summary, results.comparisons, names, metrics)
            if len(joined):
                table = probabilities.with_ensembles(table, joined, names, metrics, results.ensemble_of)
            notes = [*table.notes, *(_always(results) if "accuracy" in names else [])]
            found.append(replace(table, notes=notes, name="Comparison"))
    return found


def _tuned(results: Results) -> list[Block]:
    study = results.study
    if study.tune is None:
        return []
    partition = results.folds[study.splits_of(study.split).index(study.split_of_seed(study.split, study.tune.seed))]
    validated = set(partition[study.tune.fold].validation) & set(results.scores["patient_id"])
    return tuned_blocks(study, results.summary, results.metrics[study.compare["metrics"][0]], validated)


def _always(results: Results) -> list[str]:
    """What an accuracy has to beat: always naming no tumour, on the patients of the first model."""
    scores, shares = results.scores, []
    model = str(scores["model"].iloc[0])
    for region in pd.unique(scores["region"]):
        tp, fp, fn, tn = patient_counts(results.rows(model), model, str(region)).T
        if len(tp):
            shares.append(f"{region} {((fp + tn) / (tp + fp + fn + tn)).mean():.3f}")
    return [f"Always naming no tumour has this accuracy: {', '.join(shares)}."] * bool(shares)


def _other_metric(tests: pd.DataFrame, metric: Metric) -> str:
    own = tests[tests["metric"] == metric.name].to_dict("records")
    shown = [
        f"{row['region']}: {tables.verdict(row)} than {row['model_b' if row['verdict'] == 'a better' else 'model_a']}"
        for row in own if row["significant"]
    ]  # fmt: skip
    listed = f" ({'; '.join(shown)})" if 0 < len(shown) <= LISTED else ""
    said = f"{metric.title}: {len(shown)} of {len(own)} declared comparisons show a difference{listed}."
    shut = not tests.loc[tests["family"] == PRIMARY, "significant"].all()
    if gated := sum(row["family"] == GATED for row in own) * shut:
        said += f" {gated} of them are gated, and the gate is shut: not all primary comparisons show a difference."
    return said


def _spread(results: Results) -> list[Block]:
    if results.summary["n_seeds"].max() < 2:
        return []
    declared = results.study.compare["metrics"]
    pairs = [declared[start : start + 2] for start in range(0, len(declared), 2)]
    found = [tables.seed_table(results.summary, names, results.metrics) for names in pairs]
    return [Heading("Spread over seeds"), *found]


def _probabilities(results: Results) -> list[Block]:
    if not results.trains:
        return []
    # Of the patients that all other tables are of.
    shared, tables_kept = pd.unique(results.scores["patient_id"]), []
    for kept in (results.kept("calibration"), results.kept("disagreement")):
        rows = None if kept is None else kept[kept["patient_id"].isin(shared)]
        tables_kept.append(rows if rows is not None and len(rows) else None)
    errors, apart = tables_kept
    uncertain = None
    if apart is not None and results.ensemble_of:
        scores = pd.concat([results.own, *(one.scores for one in results.ensembles.values())], ignore_index=True)
        scores = scores[scores["patient_id"].isin(shared)]
        metric = results.metrics[results.study.compare["metrics"][0]]
        uncertain = probabilities.uncertainty_table(results.ensemble_of, scores, apart, metric)
    whose = ["model", "fold", "seed"]
    of_runs = results.own[results.own["model"].isin(results.segmenters)][whose].drop_duplicates()
    counted = set() if errors is None else set(errors[whose].itertuples(index=False, name=None))
    lacking = [run for run in of_runs.itertuples(index=False, name=None) if run not in counted]
    without = list(dict.fromkeys(model for model, _, _ in lacking))
    return probabilities.blocks(errors, results.ensemble_of, uncertain, without, len(results.study.seeds) > 1)


def _provenance(results: Results) -> list[Block]:
    about = {f"data {key}": getattr(results.manifest, key, "") for key in ("licence", "citation", "address")}
    origin = {name: value for name, value in results.origin.items() if name != "files" and value != ""}
    rows = _flat({**origin, **{name: value for name, value in about.items() if value}})
    return [Heading("Provenance"), Table("Where the numbers come from.", ["What", "Value"], rows, wrap=True)]


def _flat(values: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    rows = []
    for key, value in values.items():
        rows += _flat(value, f"{above}{key} ") if isinstance(value, Mapping) else [(f"{above}{key}", _listed(value))]
    return rows


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _draw_numbers(results: Results, folder: Path) -> list[Figure]:
    drawn, declared, names = [], results.study.compare["metrics"], results.names
    scores, tests = (figures.called(table, names) for table in (results.scores, results.comparisons))
    models = list(pd.unique(results.scores["model"]))
    for metric in (results.metrics[name] for name in declared):
        path = figures.boxplots(folder / f"boxplot_{metric.name}.png", scores, metric)
        drawn.append(Figure(f"figures/{path.name}", f"{metric.title} by region and model."))
        if 0 < ((tests["metric"] == metric.name) & tests["difference"].notna()).sum() <= MOST_ROWS:
            path = figures.differences(folder / f"differences_{metric.name}.png", tests, metric)
            drawn.append(Figure(f"figures/{path.name}", f"{metric.title}: {DIFFERENCES}"))
    pairs = declared_pairs(results.compared_models, results.study.compare)
    asked = [(names.get(a, a), names.get(b, b)) for a, b in pairs]
    sets = 0 if results.sensitivity is None else results.sensitivity["n_sets"].max()
    if sets > 1 and len(asked) <= MOST_PAIRS:
        metric = results.metrics[declared[0]]
        path = figures.training_sets(folder / f"training_sets_{metric.name}.png", scores, asked, metric)
        caption = f"{metric.title}: difference of each run (a fold with a seed) over the patients that it tested."
        drawn.append(Figure(f"figures/{path.name}", caption))
    if len(models) > 2 and scores["patient_id"].nunique() > 1:
        metric, alpha = results.metrics[declared[0]], float(results.study.compare.get("alpha", 0.05))
        path = folder / f"critical_differences_{metric.name}.png"
        figures.critical_differences(path, scores, metric, alpha)
        caption = f"Mean ranks over patients by {metric.title}, as trained here, 1 the best; a bar joins models that "
        drawn.append(Figure(f"figures/{path.name}", caption + "Nemenyi's test does not tell apart within the region."))
    drawn += _draw_reliability(results, folder)
    sweeps = [test for test in results.study.other_tests if test.corruption and test.name in results.other_scores]
    if sweeps and results.other_tests is not None:
        metric = results.metrics[declared[0]]
        path = folder / f"sweep_{metric.name}.png"
        other_tests.sweep(path, figures.called(results.other_tests, names), sweeps, metric)
        drawn.append(other_tests.figure_block(path, metric))
    if results.histories:
        path = figures.training_curves(folder / "training_curves.png", results.histories, models, names)
        caption = "Training curves: thin lines are runs, thick lines their mean up to the end of the shortest run."
        drawn.append(Figure(f"figures/{path.name}", caption))
    return drawn


def _draw_reliability(results: Results, folder: Path) -> list[Figure]:
    curves, names = results.kept("reliability"), results.names
    if curves is None:
        return []
    joined = {names.get(name, name): names.get(of, of) for name, of in results.ensemble_of.items()}
    path = probabilities.reliability(folder / "reliability.png", figures.called(curves, names), joined)
    caption = (
        "Reliability: share of voxels in the region by their probability, all cases together; bins of "
        f"{probabilities.FEWEST_VOXELS} voxels or more. On the line, a probability is what it says."
    )
    return [Figure(f"figures/{path.name}", caption)]


def _draw_panels(results: Results, folder: Path, private: Path | None) -> list[Figure]:
    public = results.manifest.pictures == "public"
    place = folder / "figures" if public else private
    if place is None:
        return []
    drawn = []
    for model in results.models:
        path = place / f"panels_{model.replace('/', '_')}.png"
        shown = [panel for panel in results.panels if panel.model == model]
        if shown:
            figures.panels(path, shown, results.manifest.labels, results.names.get(model, model))
        elif not path.exists():
            # Without the run folders, pictures that were drawn from them before stay in the report.
            continue
        caption = f"{model}: image, truth and prediction of the best, median and worst case"
        caption += " (by mean Dice over regions and seeds; the first seed's prediction is shown)."
        drawn.append(Figure(f"figures/{path.name}", caption))
    return drawn if public else []


def _draw_cases(results: Results, folder: Path, private: Path | None) -> list[Figure]:
    """Draw cases beside all models, where pictures may go; those drawn before stay where no run folder is here."""
    public = results.manifest.pictures == "public"
    place = folder / "figures" if public else private
    if place is None:
        return []
    paths = [place / f"case_{number}.png" for number in range(1, len(results.views) + 1)]
    for path, view in zip(paths, results.views, strict=True):
        figures.case(path, view, results.manifest.labels, results.names)
    shown = (paths or sorted(place.glob("case_*.png"))) if public else []
    return [Figure(f"figures/{path.name}", f"{figures.described(path)}.") for path in shown]


def beside_paper(results: Results, folder: Path, private: Path | None) -> tuple[list[Block], list[Block]]:
    """The paper's claims beside what is shown, and the sections on its numbers; nothing in a study on no paper."""
    if results.paper is None:
        return [], []
    public = results.manifest.pictures == "public"
    drawn = paper_figures.draw_all(folder, results.paper, results.study.name, results.panels, public, private)
    verdicts = papers.Verdicts(results.paper)
    claims = box(results.paper, verdicts)
    found = implied.findings(results.paper.published)
    return claims, papers.sections(results.paper, verdicts, drawn, found, results.study)
