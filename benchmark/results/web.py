"""Write a study's report as one page for a browser, report.html, and a page over all studies, index.html."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.base import declared as declarations
from benchmark.base import project
from benchmark.base.files import write_text
from benchmark.base.records import InputError, number_of
from benchmark.report import tables
from benchmark.report.cases import cases_table
from benchmark.report.document import Block, Figure, Heading, Key, Table, Text, sections
from benchmark.report.figures import described
from benchmark.report.html import Answer, Page, Picture, Section, Shown, index_to_html, to_html
from benchmark.results.explain.about import ReportRecord
from benchmark.results.explain.means import mean, paired
from benchmark.results.explain.text import driving, sentences
from benchmark.results.opening import cautions, findings
from benchmark.results.results import Results
from benchmark.stats.patients import patient_table
from benchmark.studies import study as studies

CASES = "Cases"
OPEN = (
    *("The paper's claims, and what is shown here", "Read this first", "One model under two splits", "Comparison"),
    *("Declared comparisons", "Figures", "Ranking", CASES, "Cost", "Further figures"),
)
"""Sections that a reader sees at once, in their order; all others come after them and are folded."""
POWER = "Power"
SUMMARY = "Result in short"
"""Section of the report whose sentences are the page's verdict."""
REGIONS = 3
"""Regions up to which the verdict names each."""
MOST_ANSWERS = 50
"""Numbers that the page holds the explanation of: more would make it too large to send."""
MOST_PARTS = 3000
"""Cases behind all of these together: each is looked up."""
LARGEST_LOCAL = 10_000_000
"""Bytes of a page that stays on this machine."""
PICTURES = 110_000
"""Bytes of all pictures of cases on a page."""


def verdict(results: Results) -> list[str]:
    """Sentences that say in five lines what was compared, what came out, and what limits the trust in it most."""
    scores, compare, metrics = results.scores, results.study.compare, results.metrics
    count, data = scores["model"].nunique(), results.manifest.title
    test = f", {tables.TEST_NAMES[compare['test']]}" if count > 1 else ""
    what = (
        f"{number_of(count, 'model')} on {number_of(scores['patient_id'].nunique(), 'patient')} of {data}, by "
        f"{metrics[compare['metrics'][0]].title}{test}."
    )
    found = findings(results)
    said = [text for text in cautions(results) if not results.phantom or "phantom" not in text]
    if len(found) > REGIONS:
        found = [*found[: REGIONS - 1], f"{len(found) - REGIONS + 1} more regions are in the section Comparison."]
    return [what, *found, *(f"Beware: {text}" for text in said[:1])]


def write(results: Results, blocks: Sequence[Block], folder: Path, private: Path | None) -> None:
    """Write report.html into ``folder``, from the blocks that the whole report is made of and the figures drawn there.

    Where pictures of scans may not be published and there are some in ``private``, a page with them goes beside that
    folder.
    """
    public, answers = results.manifest.pictures == "public", dict(_answers(results))
    page = _page(results, blocks, folder, answers, folder / "figures" if public else None)
    write_text(folder / "report.html", to_html(page))
    if not public and private and any(private.glob("case_*.png")):
        write_text(
            private.parent / "report.html", to_html(_page(results, blocks, folder, answers, private), LARGEST_LOCAL)
        )


def _page(
    results: Results, blocks: Sequence[Block], folder: Path, answers: Mapping[Key, Answer], pictures: Path | None
) -> Page:
    first, *rest = _sections(blocks)
    cases = _cases(results, pictures)
    # What stands among the cases, or says less than they do, is not shown twice.
    twice = ("case_", "panels_") if any(isinstance(block, Picture) for block in cases) else ("case_",)
    by_title = {title: [one for one in own if not _named(one, twice)] for title, own in rest if title != SUMMARY}
    by_title[CASES] = cases
    order = [*(title for title in OPEN if title in by_title), *(title for title in by_title if title not in OPEN)]
    sections = [Section(title, [_ranks(one) for one in by_title[title]], title not in OPEN) for title in order]
    if answers:
        said = "What benchmark explain says of each number that is a link above."
        sections.append(Section("Where the numbers come from", [Text(said), *answers.values()], True))
    name = _argument(results.study)
    return Page(
        title=results.study.title or name,
        banner=[block.text for block in first[1] if isinstance(block, Text)],
        verdict=verdict(results), sections=sections, folder=folder,
        links={key: answer.id for key, answer in answers.items()},
        command=lambda key: _command(name, key), folded=[POWER],
    )  # fmt: skip


def _sections(blocks: Sequence[Block]) -> list[tuple[str, list[Shown]]]:
    found: list[tuple[str, list[Shown]]] = []
    for own in sections(blocks):
        titles = [block for block in own if isinstance(block, Heading) and block.level < 3]
        title = next((block.text for block in titles if block.level == 2), "")
        found.append((title, [block for block in own if block not in titles]))
    return found


def _named(block: Shown, beginnings: tuple[str, ...]) -> bool:
    return isinstance(block, Figure) and Path(block.path).name.startswith(beginnings)


def _ranks(block: Shown) -> Shown:
    """A ranking without its first column: places from 1 on say more than the scores do; the ranges say what they do."""
    if not isinstance(block, Table) or list(block.header[:2]) != ["Rank", "Model"]:
        return block
    return replace(block, header=block.header[1:], rows=[row[1:] for row in block.rows])


def _cases(results: Results, folder: Path | None) -> list[Shown]:
    """The cases from best to worst, and pictures of some, as far as there are any that may be shown."""
    metric = results.metrics[results.study.compare["metrics"][0]]
    table = cases_table(results.scores, metric, "scores.csv" if results.trains else "external/")
    if results.phantom:
        table = replace(table, caption=tables.PHANTOM + table.caption)
    paths = sorted(folder.glob("case_*.png")) if folder else []
    shown = [Picture(path.stem, path, described(path), PICTURES // len(paths)) for path in paths]
    if shown:
        said = (
            f"Pictures of {len(shown)} cases, from the best to the worst by Dice, mean over models, regions and seeds."
        )
    elif not results.trains:
        said = "No pictures: a comparison of predictions keeps none of the scans."
    elif results.manifest.pictures == "public":
        said = "No pictures: no run's predictions were on the machine that made this page."
    else:
        said = (
            "No pictures: those of these scans may not be published. Where the runs are, benchmark report writes "
            f"runs/{results.study.name}/report.html, which has them."
        )
    return [table, Text(said), *shown]


def _argument(study: studies.Study) -> str:
    """What names a study on a command line in its project, or one elsewhere in the folder above it."""
    inside = study.folder.resolve() == (project.reports() / study.name).resolve()
    return study.name if inside else f"./{study.folder.name}"


def _command(study: str, key: Key) -> str:
    """The command that follows a number; "" for one that is of no single model."""
    if not key.model:
        return ""
    parts = ["benchmark", "explain", study, "--bundle", key.model, "--metric", key.metric]
    parts += ["--region", key.region] if key.region else []
    return shlex.join([*parts, *(["--against", key.against] if key.against else [])])


def _answers(results: Results) -> Iterator[tuple[Key, Answer]]:
    """Explanations of the declared metrics' means and of the primary metric's differences, by what they explain."""
    summary, tests, compare = results.summary, results.comparisons, results.study.compare
    primary, *others = compare["metrics"]
    wanted = [(*_means(summary, primary), *_pairs(tests, primary)), *(_means(summary, name) for name in others)]
    most = min(MOST_ANSWERS, MOST_PARTS // results.scores["case_id"].nunique())
    keys = [key for part in wanted for key in part][:most]
    for number, key in enumerate(keys):
        yield key, _answer(results, key, f"answer-{number + 1}")


def _means(summary: pd.DataFrame, name: str) -> list[Key]:
    rows = summary[summary["metric"] == name]
    return [Key(row["model"], name, row["region"]) for row in rows.to_dict("records")]


def _pairs(tests: pd.DataFrame, name: str) -> list[Key]:
    rows = tests[(tests["metric"] == name) & tests["difference"].notna()] if len(tests) else tests
    return [Key(row["model_a"], name, row["region"], "difference", row["model_b"]) for row in rows.to_dict("records")]


def _answer(results: Results, key: Key, id_: str) -> Answer:
    metric, region = results.metrics[key.metric], str(key.region)
    if not key.against:
        found = mean(results, key.model, region, key.metric, None)
        said = sentences(found)
        title = f"{found.title}, {key.model}: {tables.number(found.summary['mean'], metric)}"
    else:
        values = patient_table(results.scores, key.metric, region)[[key.model, key.against]]
        pair = paired(values, {"model_a": key.model, "model_b": key.against})
        said = driving(pair, metric.unit)
        value = tables.number(pair.difference, metric, True)
        title = f"{tables.title(metric)} of {region}, {key.model} less {key.against}: {value}"
    return Answer(id_, title, said, _command(_argument(results.study), key))


def write_index() -> Path:
    """Write reports/index.html, a page over all studies from what their reports recorded, and return its path."""
    place = project.reports() / "index.html"
    write_text(place, index_to_html("All studies", [_listed(name) for name in studies.names()]))
    return place


def _listed(name: str) -> dict[str, Any]:
    folder, made = project.reports() / name, ReportRecord(made_from={})
    try:
        title = str(declarations.read(folder / "study.json", dict[str, Any], "a study").get("title") or name)
        if (folder / "report.json").exists():
            made = declarations.read(folder / "report.json", ReportRecord, "what a report is made from")
    except InputError as error:
        return {"name": name, "title": name, "verdict": [], "page": "", "why": str(error)}
    # A report of an earlier release has no page for a browser.
    page = next((page for page in ("report.html", "report.md") if (folder / page).exists()), "")
    why = "" if page else "no report yet"
    return {"name": name, "title": title, "verdict": made.verdict, "page": f"{name}/{page}" * bool(page), "why": why}
