"""Turn command lines into calls, progress and exit codes (0 done, 1 a run failed or a model got worse, 2 bad input)."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from benchmark.base import project
from benchmark.base.files import parse_json
from benchmark.base.records import InputError, number_of
from benchmark.cli import data as cli_data
from benchmark.cli import predictions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmark.base.records import Run
    from benchmark.studies.execute import Outcome
    from benchmark.studies.study import Study

app = typer.Typer(
    help="Train, score and compare brain tumour segmentation models that are MONAI bundles.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(cli_data.app, name="data")
studies = typer.Typer(no_args_is_help=True, help="Declare studies.")
app.add_typer(studies, name="study")
app.command()(predictions.score)
app.command()(predictions.compare)

QUIET_S = 2.0
"""Seconds up to which a look at what is prepared stays silent."""
DEFAULT = "quickstart"
RequiredStudy = Annotated[
    str, typer.Argument(metavar="STUDY", help="A folder of reports/, or any path, with a study.json.")
]
StudyName = Annotated[
    str, typer.Argument(metavar="[STUDY]", help="A folder of reports/, or any path, with a study.json.")
]
Select = Annotated[
    list[str], typer.Option(metavar="KEY=VALUE ...", help="Only runs with bundle=, variant=, fold=, seed=.")
]
Set = Annotated[
    list[str],
    typer.Option("--set", metavar="[BUNDLE:]ID=VALUE ...", help="Set an id in the configs of all bundles, or of one."),
]
AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Run code that a study or this command sets, such as $ expressions.")
]

Jobs = Annotated[
    int | None,
    typer.Option(help="Runs at once; by default as many as fit in the GPUs' free memory, or one per processor."),
]
Gpus = Annotated[str | None, typer.Option(help="GPUs to use, such as 0,1; by default all.")]
ClusterFile = Annotated[
    Path | None,
    typer.Option(
        "--cluster", metavar="FILE", help="Do runs as jobs, each asking for what FILE says (docs/cluster.md)."
    ),
]


def main() -> None:
    """Run the command line; bad input ends in one sentence and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        # A name may have letters that a terminal cannot show, or no letters at all.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app(args=_spread(sys.argv[1:]))
    except InputError as error:
        _refuse(str(error))
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        _refuse(f"{named}expected something to read or write, found: {error.strerror or error}.")
    except SystemExit as end:
        # Typer ends with 1 where nobody reads on, which here says that something was found.
        if type(sys.stdout).__name__ == "PacifyFlushWrapper":
            raise SystemExit(128 + signal.SIGPIPE) from None
        try:
            if sys.stdout is not None:
                sys.stdout.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            if error.errno != errno.EPIPE:
                _refuse(f"the output was not written: {error.strerror}.")
            raise SystemExit(128 + signal.SIGPIPE) from None
        raise end


def _refuse(text: str) -> NoReturn:
    print(f"Error: {text}", file=sys.stderr)
    raise SystemExit(2) from None


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder that is empty or not there yet.")],
    study: Annotated[str, typer.Option(help="Name of its first study.")] = "first",
) -> None:
    """Make a project for training: the bundles, the known data sets, and a study to fill in."""
    from benchmark.studies.new_project import init as make

    for path in make(folder, study):
        print(f"Wrote {path}")
    print(f"Next: cd {folder}; scan a set (benchmark data list, benchmark data scan), name it and the models in")
    print(f"reports/{study}/study.json (it has the phantom and unet), then: benchmark plan {study}")


@app.command()
def plan(
    name: StudyName = DEFAULT,
    select: Select = [],  # noqa: B006
    set_: Set = [],  # noqa: B006
    as_json: Annotated[
        bool, typer.Option("--json", help="A list of objects with id, state, folder, epoch, epochs, differs and job.")
    ] = False,
) -> None:
    """List a study's runs and where they stand, and say what run-all would refuse with the same --select and --set;
    nothing is started or prepared."""
    from benchmark.results import publish
    from benchmark.studies import execute, store, study
    from benchmark.studies import plan as plans

    project.require()
    declared, changes = study.load(name), _changes(set_)
    runs = study.select(declared.runs(changes), select)
    execute.check_declared(runs, declared.data)
    try:
        jobs = plans.of_jobs(runs)
    except InputError as error:
        print(f"{error} Runs are listed as their files say.", file=sys.stderr)
        jobs = {}
    rows = list(plans.standings(runs, declared.data, jobs))
    if as_json:
        print(json.dumps([row.as_json() for row in rows], indent=2))
    else:
        width = max(8, *(len(row.in_words) for row in rows))
        for row in rows:
            print(f"{row.in_words:{width}} {row.run.id}" + f": {row.why}" * bool(row.why))
        print(f"{_counted([row.state for row in rows])}; folders below {store.folder(runs[0]).parents[2]}")
    _warn(runs, declared)
    for sentence in plans.refusals(declared, rows, publish.check_pairs, changes):
        print(f"run-all would refuse: {sentence}", file=sys.stderr)


def _counted(states: Sequence[str]) -> str:
    """How many runs there are, and how many in each state."""
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(["done", *states]))
    return f"{number_of(len(states), 'run')}: {counts}"


@studies.command("new")
def new_study(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the study and of its folder in reports/.")],
    data: Annotated[str, typer.Option(help="A data set, as `benchmark data list` shows it.")] = "phantom",
    models: Annotated[
        str, typer.Option(metavar="BUNDLE,BUNDLE", help="Bundles to compare, with commas between.")
    ] = "unet,resunet",
) -> None:
    """Write a study.json with comments, to be completed; `benchmark new` makes a bundle to list among its models."""
    from benchmark.studies import new_study as studies_
    from benchmark.studies import study

    project.require()
    path = studies_.new(name, data, [model.strip() for model in models.split(",")])
    declared = study.load(name)
    parts = ((declared.models, "model"), (declared.folds, "fold"), (declared.seeds, "seed"), (declared.runs(), "run"))
    print(f"Wrote {path}: {', '.join(number_of(len(some), what) for some, what in parts)} on {data}.")
    print(f"Next: complete it; a comment says what each entry means. Then: benchmark plan {name}")


@app.command()
def run_all(
    name: StudyName = DEFAULT,
    select: Select = [],  # noqa: B006
    set_: Set = [],  # noqa: B006
    jobs: Jobs = None,
    gpus: Gpus = None,
    cluster_file: ClusterFile = None,
    collect: Annotated[
        bool, typer.Option("--collect", help="Start nothing: say where jobs stand and report what is there.")
    ] = False,
    allow_code: AllowCode = False,
) -> None:
    """Do every unfinished run of a study, then write its report; repeat the command to resume."""
    from benchmark.studies import execute, study

    _check_places(jobs, gpus, cluster_file)
    project.require()
    declared, changes = study.load(name), _changes(set_)
    runs = study.select(declared.runs(changes), select)
    if collect:
        _collect(declared, runs, partial(execute.command, changes=changes, allow_code=allow_code))
        return
    # Before the long work, not after it.
    if not allow_code:
        study.check_code(declared, changes)
    _finish(declared, _do(declared, runs, changes, allow_code, jobs, gpus, cluster_file))


@app.command()
def tune(
    name: RequiredStudy, jobs: Jobs = None, gpus: Gpus = None, cluster_file: ClusterFile = None,
    allow_code: AllowCode = False,
) -> None:  # fmt: skip
    """Choose the declared value for each model of the track `tuned`, on validation patients; nobody is tested."""
    from benchmark.studies import study
    from benchmark.studies import tune as tuning

    _check_places(jobs, gpus, cluster_file)
    project.require()
    declared = study.load(name)
    runs = tuning.trials(declared)
    if not runs:
        raise InputError(f"Study {name} tunes nothing: expected `tune` and models of the track tuned in study.json.")
    if not tuning.is_done(declared):
        if not allow_code:
            study.check_code(declared, {})
        if _name_failures(_do(declared, runs, {}, allow_code, jobs, gpus, cluster_file)):
            raise typer.Exit(1)
        print(f"Wrote {tuning.write(declared)}")
    for line in tuning.in_words(declared):
        print(line)


def _check_places(jobs: int | None, gpus: str | None, cluster_file: Path | None) -> None:
    """Refuse places to run at that cannot be, or of which one leaves no sense to another."""
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs is {jobs}: expected at least 1.")
    if cluster_file and (jobs or gpus):
        raise InputError(f"--jobs and --gpus are of this machine: expected neither beside --cluster {cluster_file}.")


def _do(
    declared: Study, runs: Sequence[Run], changes: Mapping[str, Any], allow_code: bool, jobs: int | None,
    gpus: str | None, cluster_file: Path | None,
) -> list[Outcome]:  # fmt: skip
    """Do runs here or as jobs of a cluster, while they are watched, and return how each ended."""
    from benchmark.base.progress import console
    from benchmark.studies import cluster, execute
    from benchmark.studies.watch import Watch

    asked = cluster.load(cluster_file, [model.name for model in declared.models]) if cluster_file else None
    if not asked:
        cluster.check_free(runs)
    _check_and_prepare(declared, runs)
    execute.check(runs, declared.data, here=not asked or asked.cluster == "local")
    _warn(runs, declared, here=not asked)
    with Watch(runs, declared.data, console()) as watch:
        if asked:
            return cluster.do(runs, asked, partial(execute.command, changes=changes, allow_code=allow_code), watch)
        places = gpus.split(",") if gpus else execute.visible_gpus()
        return execute.execute(runs, changes, jobs, places, watch, allow_code)


def _collect(declared: Study, runs: Sequence[Run], words: Callable[[Run], list[str]]) -> None:
    """Say where runs stand, and report those that have ended."""
    from benchmark.studies import cluster

    found = cluster.stand(runs)
    left = [one for one in found if one.state != "done"]
    for one in left:
        print(f"{one.state:8} {one.run.id}" + f": {one.of_job}" * bool(one.of_job))
    print(_counted([one.state for one in found]) if left else "Every run is done.")
    _finish(declared, cluster.outcomes([one for one in found if one.state in ("done", "failed")], words))


def _check_and_prepare(declared: Study, runs: Sequence[Run]) -> None:
    """Refuse what cannot be done, name code of the bundles' own, and prepare the study's sets."""
    from benchmark.results import publish
    from benchmark.studies import execute

    execute.check_declared(runs, declared.data)
    execute.check_stages(runs)
    for bundle_ in dict.fromkeys(run.recipe for run in runs):
        _show_code(bundle_)
    publish.check_pairs(declared)
    _prepare(declared)


def _finish(declared: Study, outcomes: Sequence[Outcome]) -> None:
    """Report what is done, and name each failure with its log; exit code 1 if there is one."""
    failed = _name_failures(outcomes)
    if len(failed) < len(outcomes):
        _report(declared)
    if failed:
        raise typer.Exit(1)


def _name_failures(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Name each failure with its log, and return them."""
    failed = [outcome for outcome in outcomes if outcome.state != "done"]
    for outcome in failed:
        log = f"\n  log: {outcome.log}" * bool(outcome.log)
        print(f"FAILED {outcome.run.id}: {outcome.error}\n  repeat with: {outcome.command}{log}", file=sys.stderr)
    return failed


def _warn(runs: Sequence[Run], declared: Study, here: bool = True) -> None:
    """Say what makes runs slower or poorer than need be; not ``here`` are runs on machines that say it themselves."""
    from benchmark.studies import canvas, precision

    slow = precision.slow(runs, declared.data) if here else []
    for sentence in [*canvas.misfits(runs, declared.data), *slow]:
        print(f"warning: {sentence}", file=sys.stderr)


def _prepare(declared: Study) -> None:
    """Prepare a study's sets, in silence where that is done, and write the folds of seeds that have their own."""
    from benchmark.base.progress import reporting
    from benchmark.data.folds import write_partitions
    from benchmark.data.prepare import prepare

    with reporting("preparing", after=QUIET_S) as progress:
        for dataset in (declared.data, *declared.test_on.get("sets", ())):
            prepare(dataset, progress=progress)
    for path in write_partitions(declared.data, declared.splits):
        typer.echo(f"{path}: the folds of one seed (written)")


@app.command()
def run(
    name: RequiredStudy,
    run_id: Annotated[
        str, typer.Argument(metavar="RUN", help="As `benchmark plan` lists it: unet/default/fold0-seed1.")
    ],
    set_: Set = [],  # noqa: B006
    allow_code: AllowCode = False,
) -> None:
    """Do one run: train, predict, score."""
    from benchmark.studies import execute, precision, study
    from benchmark.studies import tune as tuning

    execute.end_with_parent()
    project.require()
    declared, changes = study.load(name), _changes(set_)
    if not allow_code:
        study.check_code(declared, changes)
    # Before they are done, what they choose is not known, and no other run is.
    runs = {run.id: run for run in tuning.trials(declared)}
    if run_id not in runs:
        runs = {run.id: run for run in declared.runs(changes)}
    if run_id not in runs:
        raise InputError(f"Study {name} has no run {run_id!r}: expected one of {', '.join(runs)}.")
    from benchmark.studies.run import run as do

    _show_code(runs[run_id].recipe)
    for sentence in precision.slow([runs[run_id]], declared.data):
        print(f"warning: {sentence}", file=sys.stderr)
    do(runs[run_id], declared.data, declared.scores)


@app.command()
def report(
    name: StudyName = DEFAULT,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a report that has runs which are not finished here.")
    ] = False,
    add: Annotated[
        bool, typer.Option("--add", help="Add the runs that are here to such a report, whose own runs stay in it.")
    ] = False,
    figures: Annotated[
        str, typer.Option(metavar="FORMAT,...", help="Write figures as svg or pdf too, beside the PNG files.")
    ] = "",
) -> None:
    """Write a study's tables, report.html, report.md, appendix.md, report.tex and figures from its finished runs."""
    from benchmark.studies import study

    if add and replace:
        raise InputError("--add and --replace are two answers to one question: expected one of them.")
    _report(study.load(name), replace, [part.strip() for part in figures.split(",") if part.strip()], add)


@app.command()
def explain(
    name: RequiredStudy,
    bundle_: Annotated[str, typer.Option("--bundle", help="The model, as tables name it.")],
    region: Annotated[
        str | None, typer.Option(help="A region of the tables: WT, or slice; by default all of them.")
    ] = None,
    variant: Annotated[str, typer.Option(help="Its variant, if not in --bundle.")] = "default",
    metric: Annotated[
        str | None,
        typer.Option(
            help="A metric or count by its name in scores.csv (dice; of slices accuracy), a measure that papers pool "
            "(GlobalAccuracy, of slices f1), and without --region also rank or a column of histories.csv or costs.csv."
        ),
    ] = None,
    against: Annotated[str | None, typer.Option(metavar="MODEL", help="Show the paired differences too.")] = None,
    on: Annotated[
        str | None, typer.Option(metavar="TEST", help="The same on another set or corrupted images (other_tests.csv).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print an object with all of it.")] = False,
) -> None:
    """Follow a number of a study's report to its runs, patients, cases, seeds and counts."""
    from benchmark.base.records import model_name
    from benchmark.results import explain as explaining
    from benchmark.results.explain.text import show
    from benchmark.studies import study

    model = model_name(bundle_, variant)
    found = explaining.explain(study.load(name), model, region, metric, against, on)
    if as_json:
        print(json.dumps(found.as_json(), indent=1, ensure_ascii=False))
    else:
        show(found)


@app.command()
def checklist(
    name: RequiredStudy,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write; by default it is printed.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print an object with a list of questions per guideline.")
    ] = False,
) -> None:
    """Fill CLAIM 2024 and the Metrics Reloaded questions from what a study records, and mark what it does not."""
    from benchmark.base.files import write_text
    from benchmark.results import checklist as checklists
    from benchmark.studies import study

    declared = study.load(name)
    filled = checklists.fill(declared)
    if as_json:
        print(json.dumps(checklists.as_json(filled), indent=1, ensure_ascii=False))
    if out:
        write_text(out, checklists.to_text(declared, filled, out.resolve().parent))
        print(f"Wrote {out}", file=sys.stderr if as_json else sys.stdout)
    elif not as_json:
        print(checklists.to_text(declared, filled, project.root()), end="")


@app.command()
def check(
    name: StudyName = DEFAULT,
    accept: Annotated[bool, typer.Option(help="Make the present scores the baseline.")] = False,
) -> None:
    """Compare a study's scores with its baseline; exit code 1 when a model got worse."""
    from benchmark.results import publish
    from benchmark.studies import study

    declared = study.load(name)
    findings = publish.check(declared, accept)
    for finding in findings:
        print(f"{name} on {declared.data}: {finding.message}")
    if any(finding.failed for finding in findings):
        raise typer.Exit(1)
    print(
        f"{name}: baseline accepted."
        if accept
        else f"{name} on {declared.data}: no regression shown "
        f"({'scores.csv' if declared.models else 'external/'} against baseline.csv in {declared.folder})."
    )


@app.command()
def predict(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A run's folder, a bundle, or with --ensemble a study.")
    ],
    scans: Annotated[Path, typer.Argument(metavar="SCANS", help="Folder of new cases: one folder each, or flat.")],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder for <case>.nii.gz; what is there of the same is kept.")
    ],
    manifest: Annotated[
        str | None,
        typer.Option(help="Known set whose files are named alike; by default _t1, _t1n, _0000 and the like."),
    ] = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Mean of the probabilities of all runs of a study's model.")
    ] = False,
    bundle_: Annotated[str | None, typer.Option("--bundle", help="The study's model, if it has several.")] = None,
    variant: Annotated[str | None, typer.Option(help="Its variant.")] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write them too, per region, to OUT/probabilities.")
    ] = False,
    back: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for label maps in the raw scans' space, after data prepare --raw."),
    ] = None,
    set_: Annotated[
        list[str],
        typer.Option("--set", metavar="ID=VALUE ...", help="Ids that MONAI's command was given to train a bundle."),
    ] = [],  # noqa: B006
) -> None:
    """Apply a trained network to new scans; label maps have each case's own shape and affine.

    Each is written when it is done, and the same command goes on where it was stopped. Exit code 2 if a case could not
    be predicted."""
    from benchmark.base.progress import reporting
    from benchmark.studies import predict as applying
    from benchmark.studies import trained, trust

    changes = _changes(set_)
    trust.check("--set", changes)
    found = trained.find(model, ensemble, bundle_, variant, changes)
    with reporting("reading") as progress:
        job = applying.look(found, scans, out, manifest, probabilities, progress, back)
    for text in job.said:
        print(text)
    with reporting("predicting") as progress:
        files, refused = applying.write(job, progress)
    beside = f", probabilities to {out / 'probabilities'}" * (probabilities and bool(files))
    beside += f", and those of the raw scans to {back}" if back and files else ""
    print(f"Wrote {number_of(len(files), 'label map')} to {out}{beside}.")
    for case, why in refused.items():
        print(f"NOT PREDICTED {case}: {why}", file=sys.stderr)
    if refused:
        raise typer.Exit(2)


@app.command()
def compose(names: Annotated[list[str] | None, typer.Argument(metavar="[BUNDLE]...")] = None) -> None:
    """Write the full configs of bundles, composed from the protocol and their model.json."""
    from benchmark.studies import bundle

    project.require()
    for name in names or bundle.names():
        changed = bundle.write(name)
        print(f"{name}: {', '.join(path.name for path in changed) or 'unchanged'}")


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the bundle, of its folder and in tables.")],
    network: Annotated[str, typer.Option(help="Import path of a network class: monai.networks.nets.SegResNet.")],
    set_: Annotated[list[str], typer.Option("--set", metavar="ARG=VALUE ...", help="Arguments of the class.")] = [],  # noqa: B006
    allow_code: AllowCode = False,
) -> None:
    """Make a bundle of any network class of MONAI or torch; with --allow-code of any. For a study: `study new`."""
    from benchmark.studies import new_bundle as scaffold
    from benchmark.studies import trust

    project.require()
    arguments = _changes(set_)
    if not allow_code:
        scaffold.check_name(name)
        trust.check("benchmark new", {"network": {"_target_": network, **arguments}})
    for path in scaffold.new(name, network, arguments):
        print(f"Wrote {path}")
    _show_code(name)
    print(
        f'To train it, list {{"bundle": "{name}"}} among a study\'s models, or make a study: benchmark study new STUDY '
        f"--models unet,{name}"
    )


@app.command()
def implied(
    name: Annotated[str, typer.Argument(metavar="STUDY", help="A folder of reports/ with a published.json.")],
) -> None:
    """Print what a paper's printed numbers imply about each other, the contradictions first."""
    from benchmark.papers import implied as relations
    from benchmark.papers import published

    path = published.find(project.reports() / name) or published.find(project.shipped("reports") / name)
    if path is None:
        raise InputError(
            f"{project.reports() / name} has no published.json: expected one there or in the folder above."
        )
    findings = relations.findings(published.load(path))
    for verdict in dict.fromkeys(found.verdict for found in findings):
        print(f"{verdict.capitalize()}:")
        for found in findings:
            if found.verdict == verdict:
                print(f"- {found.said}")
        print()
    print(relations.summary(findings))


def _report(declared: Study, replace: bool = False, formats: Sequence[str] = (), add: bool = False) -> None:
    from benchmark.results import publish

    path = publish.publish(declared, replace, formats, add)
    print(f"Report: {path}\nIn a browser: {path.with_suffix('.html')}")


def _show_code(name: str) -> None:
    from benchmark.studies import bundle

    for found in bundle.code(name):
        print(f"Bundle {name} runs code of its own: {found}", file=sys.stderr)


def _changes(texts: list[str]) -> dict[str, Any]:
    changes = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InputError(f"--set {text!r}: expected ID=VALUE.")
        try:
            changes[key] = parse_json(value)
        except ValueError:
            changes[key] = value
    return changes


def _spread(arguments: list[str]) -> list[str]:
    """Repeat --select and --set before every further KEY=VALUE, so that one flag may be followed by several."""
    spread: list[str] = []
    flag = ""
    for argument in arguments:
        if flag and "=" in argument and not argument.startswith("-") and spread[-1] != flag:
            spread.append(flag)
        if argument.startswith("-"):
            flag = argument if argument in ("--select", "--set") else ""
        elif "=" not in argument:
            flag = ""
        spread.append(argument)
    return spread
