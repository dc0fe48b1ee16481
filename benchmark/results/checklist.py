"""Answer CLAIM 2024 and Metrics Reloaded from what a study records, and leave open what no record says."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmark.base import project
from benchmark.base.files import read_json, read_table
from benchmark.base.records import InputError, patient_known
from benchmark.data.folds import SIDES, SPLITS, folds_path, read_sides
from benchmark.data.manifest import cases_path
from benchmark.report.document import APPENDIX, REPORT, Heading, Text, anchor, escape, to_markdown
from benchmark.report.failures import common_to_worst
from benchmark.report.tables import TEST_NAMES
from benchmark.results.checklist_items import CLAIM, METRICS_RELOADED, Item
from benchmark.results.opening import SETTINGS, fold_cautions, plateaus
from benchmark.results.results import Results, declarations
from benchmark.scoring.calibration import ERRORS
from benchmark.scoring.metrics import Metric
from benchmark.stats.compare import declared_pairs
from benchmark.stats.seeds import TWO_LEVEL
from benchmark.studies import bundle
from benchmark.studies.study import Study

GUIDELINES = {
    "CLAIM 2024 (Tejani et al., Radiology: Artificial Intelligence 2024, doi:10.1148/ryai.240300)": CLAIM,
    "Metrics Reloaded (Maier-Hein et al., Nature Methods 2024, doi:10.1038/s41592-023-02151-z)": METRICS_RELOADED,
}
MOST_GROUPS = 12
"""Groups of patients up to which they are listed."""
PROTOCOL, SCORES_DOC = "bundles/protocol/README.md", "docs/scores_and_tests.md"


class Place(NamedTuple):
    """A file of the project, by its path below the project's root, and a heading in it."""

    path: str
    heading: str = ""


class Answer(NamedTuple):
    """What is recorded on a question, and where; with no such place it is no answer.

    ``more`` is what is left to say, where the records leave less open than the question's own ``more``.
    """

    text: str
    places: list[Place]
    more: str | None = None


class Line(NamedTuple):
    """A question with what is recorded on it, empty where nothing is, and what the author still has to write."""

    number: str
    section: str
    asks: str
    recorded: str
    places: list[Place]
    write: str


def fill(study: Study) -> dict[str, list[Line]]:
    """Answer each guideline's questions, by the guideline's title, from a study's files as they are now.

    Raises:
        InputError: if one of these files is there and is not what it should be, or nothing is trained.
    """
    if not study.models:
        raise InputError(
            f"{study.folder}: expected a study that trains models, as predictions alone answer no checklist."
        )
    results = Results(study)
    answers = {**_design(results), **_data(results), **_models(results), **_tables(results), "40": _limits(results)}
    if cases_path(study.data).exists():
        answers |= _cases(results)
    if folds_path(study.data, study.splits_of(study.split)[0]).exists():
        answers |= _partitions(results)
    if (results.tables / "scores.csv").exists():
        answers |= {**_scores(results), **_masks(results), **_metrics(results), **_kept(results), **_failures(results)}
        answers |= _elsewhere(results, answers["30"])
    return {title: [_line(item, answers.get(item.number)) for item in items] for title, items in GUIDELINES.items()}


def _line(item: Item, answer: Answer | None) -> Line:
    places = [place for place in map(_there, dict.fromkeys(answer.places)) if place] if answer else []
    if not (answer and answer.text and places):
        return Line(item.number, item.section, item.asks, "", [], item.write)
    left = item.more if answer.more is None else answer.more
    return Line(item.number, item.section, item.asks, answer.text, places, left)


def _there(place: Place) -> Place | None:
    """A place, without its heading where the file has no such one; None where there is no such file."""
    path = project.root() / place.path
    if not path.is_file():
        return None
    known = place.heading and re.search(rf"^#+ {re.escape(place.heading)}$", path.read_text(encoding="utf-8"), re.M)
    return place if known else Place(place.path)


def as_json(filled: Mapping[str, list[Line]]) -> dict[str, list[dict[str, Any]]]:
    """Filled checklists as JSON has them."""
    return {
        title: [{**line._asdict(), "places": [place._asdict() for place in line.places]} for line in lines]
        for title, lines in filled.items()
    }


def to_text(study: Study, filled: Mapping[str, list[Line]], folder: Path) -> str:
    """Write filled checklists as Markdown, a line per question, whose links start in ``folder``."""
    said = (
        "Filled from this study's records; each answer names its place. WRITE marks what only an author can say. The "
        "questions are in short words of ours: submit the guideline's own form. CLAIM's numbers were compared with a "
        "public summary, those of Metrics Reloaded with its Table 1 and with texts that cite it, not with the "
        "articles; a word in brackets stands for a number that could not be looked up. Of Metrics Reloaded, these are "
        "the questions on segmenting tumours."
    )
    text = to_markdown([Heading(f"Checklists: {study.title}", 1), Text(said)])
    for title, lines in filled.items():
        answered, partly = (sum(bool(line.recorded) for line in some) for some in (lines, filter(_partly, lines)))
        count = f"{len(lines)} questions: {answered} answered, {partly} of these in part; {len(lines) - answered} open."
        text += "\n" + to_markdown([Heading(title), Text(count)]) + "\n"
        text += "".join(f"- {_sentence(line, folder)}\n" for line in lines)
    return text


def _partly(line: Line) -> bool:
    return bool(line.recorded and line.write)


def _sentence(line: Line, folder: Path) -> str:
    parts = [f"**{line.number} {escape(line.asks)}{'' if line.asks.endswith('?') else '.'}**"]
    if line.recorded:
        parts.append(f"{escape(line.recorded)} ({', '.join(_link(place, folder) for place in line.places)}).")
    if line.write:
        parts.append(f"**WRITE:** {escape(line.write)}.")
    return " ".join(parts)


def _link(place: Place, folder: Path) -> str:
    target = os.path.relpath(project.root() / place.path, folder)
    below = f"#{anchor(place.heading)}" if place.heading else ""
    parts = Path(place.path).parts
    # Every bundle has a README.md, and a study may extend another.
    name = parts[1] if parts[0] == "bundles" else "/".join(parts[1:] if parts[-1] == "study.json" else parts[-1:])
    return f"[{name}{f', {place.heading}' if place.heading else ''}]({target}{below})"


def _of(results: Results, name: str, heading: str = "") -> Place:
    """A place in a file of the study's folder."""
    return Place(f"reports/{results.study.name}/{name}", heading)


def _section(results: Results, heading: str) -> Place:
    """A section of the report, or of its appendix where that has it."""
    places = [_of(results, name, heading) for name in (REPORT, APPENDIX)]
    return next((place for place in map(_there, places) if place and place.heading), places[0])


def _declared(results: Results, key: str) -> Place:
    """The ``study.json`` that has an entry: the study's own, or one that it extends."""
    paths = list(declarations(results.study.folder / "study.json"))
    found = next((path for path in paths if key in read_json(path, "a study")), paths[0])
    return Place(found.relative_to(project.root()).as_posix())


def _manifest(results: Results) -> Place:
    return Place(f"data_manifests/{results.manifest.name}.json")


def _design(results: Results) -> dict[str, Answer]:
    """What study.json declares."""
    study, compare = results.study, results.study.compare
    compared, models = _declared(results, "compare"), _declared(results, "models")
    pairs = _many(len(declared_pairs(results.compared_models, compare)), "pair")
    named = [results.metrics[name].title for name in compare["metrics"]]
    aims = f"{pairs} of models compared by {' and '.join(named)}{_margin(results)}"
    if study.notes:
        aims += f"; {_many(len(study.notes), 'note')} in study.json"
    uses = {bundle.read(name)["metadata"].get("intended_use", ""): name for name in study.bundles[::-1]}
    metadata = [Place(f"bundles/{name}/configs/metadata.json") for name in uses.values()]
    goal = f"Comparison of {_many(len(study.models), 'model')}. Intended use: {'; '.join(filter(None, uses))}"
    joined = [f"{model.name} {model.joining}" for model in study.models if model.joins]
    test = f"{TEST_NAMES[compare['test']]}, alpha {compare.get('alpha', 0.05)}, Holm's correction, 95% intervals"
    task = f"Masks of {', '.join(results.manifest.regions)}: semantic segmentation"
    if slices := [name for name in results.models if name not in (*results.segmenters, *results.apart_models)]:
        task += f"; tumour or not in a slice: classification ({', '.join(slices)})"
    average = "None: each score is of one network; seeds are averaged after scoring"
    report = _section(results, "Declared comparisons")
    return {
        "4": Answer(aims, [compared, *[_declared(results, "notes")] * bool(study.notes)]),
        "6": Answer(goal, [models, *metadata]),
        "27": Answer("; ".join(joined) or average, [models, Place(SCORES_DOC, "Scores")]),
        "28": Answer(f"{', '.join(named)}; the first is primary", [compared, Place(SCORES_DOC, "Definitions")]),
        "29": Answer(test, [compared, report, Place(SCORES_DOC, "Tests")]),
        "FP1.1": Answer(task, [_manifest(results), models]),
    }


def _margin(results: Results) -> str:
    margin = results.study.compare.get("margin", {})
    each = margin.items() if isinstance(margin, Mapping) else [(results.study.compare["metrics"][0], margin)]
    shown = [f"{results.metrics[name].title} {value:g}" for name, value in each]
    return f"; margin of equivalence {', '.join(shown)}" if shown else ""


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _data(results: Results) -> dict[str, Answer]:
    """What the manifest says."""
    manifest, place = results.manifest, _manifest(results)
    parts = {
        region: " + ".join(manifest.labels[str(label)] for label in labels)
        for region, labels in manifest.regions.items()
    }
    return {
        "7": Answer(f"{manifest.title}; access: {manifest.access}, {manifest.address}", [place]),
        "14": Answer("One label map per case; " + ", ".join(f"{name} = {of}" for name, of in parts.items()), [place]),
        "43": Answer(f"Licences of code and data; access to data: {manifest.access}", [Place("LICENSE"), place]),
    }


def _cases(results: Results) -> dict[str, Answer]:
    """What the list of scanned cases says."""
    manifest, cases = results.manifest, results.cases.cases
    place = Place(f"data_manifests/{results.study.data}.cases.json")
    here = f"{_many(len(cases), 'case')} of {_patients(results, len(results.cases.patients))}"
    shapes = Counter(
        f"{'x'.join(map(str, case.shape))} voxels"
        + (f" of {'x'.join(f'{size:.3g}' for size in case.spacing)} mm" if manifest.unit == "mm" else "")
        for case in cases
    )
    shape, count = shapes.most_common(1)[0]
    published = manifest.expected_cases or "an unknown number of"
    answers = {
        "36": _characteristics(results),
        "10": Answer(f"{len(cases)} of {published} published cases", [place, _manifest(results)]),
        "13": Answer(f"{', '.join(manifest.modalities)}; {shape} in {count} of {len(cases)} cases", [place]),
        "35": Answer(f"{published} cases published; {here} in this set", [_manifest(results), place]),
        "FP4 (dependence)": Answer(f"{here}; means are over patients", [place, Place(SCORES_DOC, "Scores")]),
    }
    if not all(case.voxels for case in cases):
        return answers
    voxels = np.array([sum(case.voxels.values()) for case in cases])
    sizes = {
        region: np.array([sum(case.voxels.get(str(label), 0) for label in labels) for case in cases])
        for region, labels in manifest.regions.items()
    }
    spread = ", ".join(f"{region} {np.median(own):.0f} ({own.min()} to {own.max()})" for region, own in sizes.items())
    shares = ", ".join(f"{region} {100 * np.median(own / voxels):.2g}%" for region, own in sizes.items())
    empty = ", ".join(f"{region} {np.sum(own == 0)}" for region, own in sizes.items())
    return answers | {
        "FP3.1": Answer(f"Voxels per case, median (least to most): {spread}", [place]),
        "FP4 (balance)": Answer(f"Share of a case's voxels, median: {shares}", [place]),
        "FP4.6": Answer(f"Empty of {len(cases)} references: {empty}", [place, Place(SCORES_DOC, "Empty masks")]),
    }


def _characteristics(results: Results) -> Answer:
    """What ids and the table of patients say of the patients, and what CLAIM asks for besides."""
    known = results.known
    parts = []
    for name in known:
        own = known[name].dropna()
        if pd.api.types.is_numeric_dtype(own):
            parts.append(f"{name} {own.median():g} ({_range(own)}), the median and range")
        elif own.nunique() <= MOST_GROUPS:
            parts.append(f"{name} {', '.join(f'{group} ({count})' for group, count in own.value_counts().items())}")
        else:
            parts.append(f"{name}, of {own.nunique()} kinds")
    table = known.attrs.get("table")
    there = " ".join(map(str, known)).lower()
    asked = [word for word in ("age", "sex", "grade", "treatment") if word not in there]
    place = Place(f"data_manifests/{table}") if table else _manifest(results)
    return Answer("; ".join(parts), [place], f"{', '.join([*asked, 'all of these'])} by partition")


def _patients(results: Results, count: int) -> str:
    """Patients by their number, with a word where pictures are taken for them."""
    source, cases = str(results.manifest.source), results.cases.cases
    known = all(patient_known(source, case.case_id, case.patient_id) for case in cases)
    return _many(count, "patient") + ("" if known else ", where a picture of unknown origin counts as one")


def _partitions(results: Results) -> dict[str, Answer]:
    """What the file of folds says, and whether patients are kept apart in it."""
    study, splits = results.study, results.study.splits_of(results.study.split)
    path = folds_path(study.data, splits[0])
    file, unit = read_sides(path), SPLITS[study.split]
    sizes = [f"{side} {_range([len(getattr(fold, side)) for fold in file.folds])}" for side in SIDES]
    dealer = "" if file.seed is None else f" by random seed {file.seed}"
    dealt = f"{_many(len(file.folds), 'fold')} of {unit}s dealt{dealer}, {', '.join(sizes)} {unit}s; "
    dealt += "one partition for all seeds" if len(splits) == 1 else f"{len(splits)} partitions, one for each seed"
    place = Place(path.relative_to(project.root()).as_posix())
    answers = {"19": Answer(dealt, [place, _declared(results, "folds")])}
    if (results.tables / "scores.csv").exists():
        report = _section(results, "Read this first")
        answers["20"] = Answer(" ".join(fold_cautions(results)).rstrip("."), [place, report])
    return answers


def _range(values: Iterable[float], form: str = "g") -> str:
    low, high = min(values), max(values)
    return f"{low:{form}}" if low == high else f"{low:{form}} to {high:{form}}"


def _models(results: Results) -> dict[str, Answer]:
    """What bundles and the study's settings say of networks and their training, and training histories of its end."""
    names = results.study.bundles
    image = str(bundle.read(names[0])["metadata"].get("image_classes", "")).partition(" (")[0]
    shrink = results.manifest.layout.shrink
    smaller = f"; means over {shrink}x{shrink} pixels" if shrink > 1 else ""
    settings = [Place(PROTOCOL), _section(results, SETTINGS)]
    keys = ("spatial_size", "optimizer", "learning_rate", "batch_size", "max_epochs", "keep")
    size, optimiser, rate, batch, epochs, kept = (_values(results, key) for key in keys)
    pretrained = [name for name, config in results.configs.items() if _pretrained(config, config["network_def"])]
    start = f"Pretrained weights set for {', '.join(pretrained)}" if pretrained else "No config sets pretrained weights"
    procedure = f"{optimiser}; learning rate {rate}; batch {batch}; at most {epochs} epochs{_endings(results)}"
    described, costs = _many(len(results.study.models), "model"), _table(results, "costs")
    if len(costs) and costs["parameters"].notna().any():
        described += f" of {_range(costs['parameters'].dropna() / 1e6, '.3g')} million parameters"
    if results.external:
        described += f"; {', '.join(results.external)} by another tool is not described (nor in 23 to 27)"
    documents = [Place(f"bundles/{name}/docs/README.md") for name in names]
    return {
        "9": Answer(f"{image}{smaller}; canvas {size}", settings),
        "22": Answer(described, [*documents, _of(results, "costs.csv")]),
        "24": Answer(f"{start}; the protocol starts as PyTorch does, at random", settings[:1]),
        "25": Answer(procedure, [*settings, _of(results, "histories.csv")]),
        "26": Answer(f"Weights kept: {kept}, where best is by the validation score", settings),
    }


def _values(results: Results, key: str) -> str:
    """The value of an id in the models' configs; where they differ, with the number of models in brackets."""
    found = Counter(_named(config.get(key)) for config in results.configs.values()).most_common()
    if len(found) == 1:
        return found[0][0]
    return ", ".join(f"{value} ({_many(count, 'model')})" for value, count in found)


def _named(value: Any) -> str:
    if isinstance(value, Mapping):
        return str(value.get("_target_", "")).rpartition(".")[2]
    return "computed" if str(value).startswith(("$", "@")) else str(value)


def _pretrained(config: Mapping[str, Any], part: Mapping[str, Any]) -> bool:
    """Whether an argument of a network, or of one within it, sets pretrained weights."""
    for key, value in part.items():
        given = config.get(value[1:]) if isinstance(value, str) and value.startswith("@") else value
        if isinstance(value, Mapping):
            if _pretrained(config, value):
                return True
        elif re.search("pretrain|weights", key) and given:
            return True
    return False


def _endings(results: Results) -> str:
    """How trainings ended, and how many runs were set otherwise than the study declares."""
    if not all((results.tables / name).exists() for name in ("histories.csv", "provenance.json")):
        return ""
    kinds = Counter(kind or "no plateau" for own in plateaus(results).values() for kind in own)
    declared = {run.id: run.overrides for run in results.runs}
    other = sum(run.overrides != declared.get(name) for name, run in results.provenance.runs.items())
    said = f"; ends of trainings: {', '.join(f'{kind} ({count})' for kind, count in kinds.most_common())}"
    return said + (f"; {_many(other, 'run')} set otherwise than declared" if other else "")


def _tables(results: Results) -> dict[str, Answer]:
    """What provenance.json and the tables beside the report say."""
    answers, primary = dict[str, Answer](), results.metrics[results.study.compare["metrics"][0]]
    compared, report = _of(results, "comparisons.csv"), _section(results, "Declared comparisons")
    power, tests = _table(results, "power"), _table(results, "comparisons")
    if len(power):
        rows = power[(power["of"] == "networks") & (power["metric"] == primary.name)]
        medians = rows.groupby("target")["patients"].median()
        needed = ", ".join(f"{target:g} takes {patients:.0f}" for target, patients in medians.items())
        text = f"Patients that would show a difference in {primary.title}, median over pairs: {needed}"
        answers["21"] = Answer(text if needed else "", [_of(results, "power.csv"), report])
    if len(tests):
        shown, known = int(tests["significant"].eq(True).sum()), int(tests["ci_low"].notna().sum())
        about = "" if results.study.compare["test"] == TWO_LEVEL else ", as trained here"
        text = f"A difference is shown in {shown} of {_many(len(tests), 'comparison')}{about}"
        answers["37"] = Answer(text, [_section(results, "Comparison"), compared])
        text = f"95% intervals of {_many(known, 'difference')} over {int(tests['n_patients'].max())} patients"
        answers["38"] = Answer(text if known else "", [compared, report])
    if (results.tables / "provenance.json").exists():
        made, place = results.provenance, _of(results, "provenance.json")
        versions = [", ".join(f"{name} {number}" for name, number in one.items()) for one in made.versions]
        commits = sorted({run.commit for run in made.runs.values()})
        protocol = f"Declared study, shared protocol, commit {', '.join(commits)}"
        answers["23"] = Answer("; ".join(versions), [place])
        answers["42"] = Answer(protocol, [_of(results, "study.json"), Place(PROTOCOL), place])
    return answers


def _table(results: Results, name: str) -> pd.DataFrame:
    """A table beside the report; one without rows where there is none."""
    path = results.tables / f"{name}.csv"
    return read_table(path, f"the table {name}") if path.exists() else pd.DataFrame()


def _scores(results: Results) -> dict[str, Answer]:
    """What scores say of who was tested, what was varied and where models fail."""
    scores, study, place = results.scores, results.study, _of(results, "scores.csv")
    models = list(map(str, pd.unique(scores["model"])))
    cases, patients = _many(scores["case_id"].nunique(), "case"), scores["patient_id"].nunique()
    tested = f"{_many(len(models), 'model')}, {cases} of {_patients(results, patients)}"
    times = f"{_many(len(study.folds), 'fold')}, {_many(len(study.seeds), 'seed')}"
    varied = [f"seed ({len(study.seeds)})"] * (len(study.seeds) > 1) + ["split"] * bool(results.apart_models)
    if variants := [name for name in models if "/" in name]:
        varied.append(f"variant ({', '.join(variants)})")
    return {
        "2": Answer(tested, [_section(results, "Result in short")]),
        "30": Answer(f"Varied: {', '.join(varied)}" if varied else "", [_declared(results, "models"), place]),
        "32": Answer(f"{tested}; {times}", [place]),
    }


def _failures(results: Results) -> dict[str, Answer]:
    """The worst cases, and what the worst patients have in common."""
    scores, metric = results.scores, results.metrics[results.study.compare["metrics"][0]]
    own = scores[scores["metric"] == metric.name]
    means = own.pivot_table(index="case_id", columns="region", values="value", sort=False)
    worst = means.idxmin() if metric.better == "higher" else means.idxmax()
    failed = ", ".join(
        f"{region} {means[region][case]:.3g} ({case})" for region, case in zip(means, worst, strict=True)
    )
    said, more = f"Worst mean {metric.title} over models: {failed}", None
    if results.failures is not None and len(results.failures.worst):
        patients = ", ".join(map(str, results.failures.worst["patient_id"]))
        said += f"; the worst patients are {patients}. {common_to_worst(results.failures).rstrip('.')}"
        more = "why they failed"
    return {"39": Answer(said, [_of(results, "scores.csv"), _section(results, "Where models fail")], more)}


def _kept(results: Results) -> dict[str, Answer]:
    """What follows from kept probabilities: errors of calibration, and ensembles over seeds."""
    answers, section = dict[str, Answer](), _section(results, "Probabilities")
    if (errors := results.kept("calibration")) is not None:
        by_patient = errors.groupby(["region", "model", "patient_id"], sort=False)[[*ERRORS]].mean()
        means = by_patient.groupby("region", sort=False).mean()
        listed = [f"{region} {row.ece:.3g} and {row.ace:.3g}" for region, row in means.iterrows()]
        text = f"ECE and ACE, mean over models and patients: {', '.join(listed)}"
        answers["FP2.7.1"] = Answer(text, [_of(results, "calibration.csv"), section])
    if results.ensemble_of:
        text = f"Mean of the seeds' probabilities: {', '.join(results.ensemble_of)}; each other score is of one network"
        answers["27"] = Answer(text, [_of(results, "ensembles.csv"), section])
    return answers


def _elsewhere(results: Results, varied: Answer) -> dict[str, Answer]:
    """What tests on other sets and on corrupted images say, the latter beside what else was ``varied``."""
    found, answers = results.other_tests, dict[str, Answer]()
    if found is None:
        return answers
    places = [_of(results, "other_tests.csv"), _section(results, "Tested elsewhere")]
    tests = [test for test in results.study.other_tests if test.name in set(found["test"])]
    metric = results.metrics[results.study.compare["metrics"][0]]
    changes = found[found["metric"] == metric.name].groupby("test")["change"]
    said = {test.name: f"{test.name} ({_range(changes.get_group(test.name), '+.3f')})" for test in tests}
    sets, made = (", ".join(said[test.name] for test in tests if bool(test.data) == own) for own in (True, False))
    what = f"with the changes of mean {metric.title} by model and region"
    if sets:
        answers["33"] = Answer(f"The same networks on other sets, {what}: {sets}", places)
    if made:
        left = "" if sets else "robustness to other scanners"
        text = f"The same networks on corrupted images, {what}: {made}"
        answers["30"] = Answer("; ".join(filter(None, [varied.text, text])), [*places, *varied.places], left)
    return answers


def _limits(results: Results) -> Answer:
    """How many cautions the report begins with."""
    place = _section(results, "Read this first")
    path = project.root() / place.path
    section = path.read_text(encoding="utf-8").partition(f"## {place.heading}\n")[2] if path.is_file() else ""
    count = section.partition("\n#")[0].count("\n- ")
    return Answer(f"{_many(count, 'caution')}, the gravest first" if count else "", [place])


def _masks(results: Results) -> dict[str, Answer]:
    """What counts of voxels and lesions say of the predicted masks."""
    place, rules = _of(results, "scores.csv"), Place(SCORES_DOC, "Empty masks")
    masks = results.merged[results.merged["region"].isin(results.manifest.regions)]
    lost = masks["note"].eq("missing prediction")
    missing = f"{int(lost.sum())} of {len(masks)} masks missing; a missing one counts as worst"
    runs = f"{len(results.missing)} of {_many(len(results.runs), 'run')} without scores; {missing}"
    answers = {"12": Answer(runs, [place, rules]), "FP5 (invalid)": Answer(missing, [place, rules])}
    if {"tp", "fp"} <= {*masks}:
        empty = (masks["tp"] + masks["fp"]).eq(0) & ~lost
        answers["FP5.2"] = Answer(
            f"Empty predictions: {_shares(empty.groupby(masks['region'], sort=False))}", [place, rules]
        )
    if {"instance_tp", "instance_fn"} <= {*masks}:
        parts = (masks["instance_tp"] + masks["instance_fn"]).groupby([masks["region"], masks["case_id"]], sort=False)
        text = f"Cases with several components: {_shares(parts.max().gt(1).groupby('region', sort=False))}"
        answers["FP3.6"] = Answer(text, [place, Place(SCORES_DOC, "Lesions")])
    return answers


def _shares(groups: Any) -> str:
    return ", ".join(f"{region} {int(own.sum())} of {len(own)}" for region, own in groups)


def _metrics(results: Results) -> dict[str, Answer]:
    """Which of the metrics with scores answer to an interest, those that the study declares first."""
    raw, declared = results.merged, results.study.compare["metrics"]
    there: dict[str, Metric] = {
        name: metric for name, metric in results.metrics.items() if name in raw and raw[name].notna().any()
    }
    interests: dict[str, list[str]] = {
        "FP2.1": [name for name, metric in there.items() if metric.needs == "surfaces"],
        "FP2.2": [name for name, metric in there.items() if metric.needs == "volume"],
        "FP2.5": [name for name in ("sensitivity", "precision", "specificity") if name in there],
    }
    answers = dict[str, Answer]()
    for number, names in interests.items():
        titles = {name: there[name].title.replace(",", "") for name in names}
        first = [title for name, title in titles.items() if name in declared]
        rest = [title for name, title in titles.items() if name not in declared]
        parts = [f"declared: {', '.join(first)}"] * bool(first) + [f"scored only: {', '.join(rest)}"] * bool(rest)
        place = [_of(results, "scores.csv"), Place(SCORES_DOC, "What each one tells")]
        answers[number] = Answer("; ".join(parts), place)
    return answers
