"""Turn command lines that begin with ``benchmark data`` into calls of the data room."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from benchmark.base.progress import console, reporting
from benchmark.base.records import InputError, number_of

if TYPE_CHECKING:
    from benchmark.data.audit.measures import Finding
    from benchmark.data.new_set import Described

app = typer.Typer(no_args_is_help=True, help="Find, check, fetch and prepare data sets.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A scanned data set, as `benchmark data list` shows it.")]


@app.command()
def scan(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A known data set: brats2018, msd_brain, …")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where its files are on this machine.")],
    name: Annotated[str | None, typer.Option(help="Name of the case list, if not SOURCE (a subset, a copy).")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite a case list that differs.")] = False,
    patients: Annotated[
        Path | None, typer.Option(metavar="TABLE", help="CSV file with columns of case ids and of patients.")
    ] = None,
    without_labels: Annotated[
        bool, typer.Option("--without-labels", help="List images only, to predict on; there are no folds then.")
    ] = False,
) -> None:
    """Read and check every file, and write the case list with hashes to data_manifests/ (of the project, or here)."""
    from benchmark.data.scan import scan as run

    with reporting("scanning") as progress:
        result = run(source, folder, name, replace, progress, patients, not without_labels)
    state = "written" if result.written else "unchanged"
    people = len(result.listed.patients)
    counts = f"{number_of(len(result.listed.cases), 'case')} of {number_of(people, 'patient')}"
    typer.echo(f"{counts}: {result.cases_file} ({state})")
    for warning in result.warnings:
        typer.echo(f"warning: {warning}")


@app.command("new")
def new_set(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the set, of its files and in tables.")],
    folder: Annotated[
        Path | None, typer.Option("--from", metavar="FOLDER", help="A folder of it: nnU-Net's dataset.json is read.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Its layout: files, brats, nnunet or bids.")] = None,
    modality: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=END", help="T1=_t1, by BIDS T1=_T1w: how its files' names end; repeatable."),
    ] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="VALUE=MEANING", help="1=oedema; repeatable.")] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUES", help="WT=1,2,3; by default each label; repeatable."),
    ] = None,
    label_end: Annotated[str | None, typer.Option(help="How label maps' names end: _seg, *_dseg for bids.")] = None,
    patient: Annotated[
        str | None, typer.Option(help="Pattern of ids with a group patient; by default each case is a patient.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="A line that says what it is.")] = None,
    licence: Annotated[str | None, typer.Option(help="On what terms it may be used.")] = None,
    citation: Annotated[str | None, typer.Option(help="What to cite for it.")] = None,
    address: Annotated[str | None, typer.Option(help="Where to get it.")] = None,
    unit: Annotated[str, typer.Option(help="mm, or pixels where files do not say how large a voxel is.")] = "mm",
) -> None:
    """Describe a data set of your own; a terminal is asked for what is not given."""
    from benchmark.data import new_set as making

    known = making.describe(folder, source)
    known.modalities = making.parse_pairs("--modality", modality or ()) or known.modalities
    known.labels |= making.parse_labels("--label", label or ())
    if regions := making.parse_regions("--region", region or ()):
        known.regions, known.order = regions, []
    known.label_end = label_end
    if known.missing and sys.stdin.isatty():
        _ask(known)
    about = {"title": title, "licence": licence, "citation": citation, "address": address, "unit": unit}
    path = making.new(name, known, about, patient)
    alone = "" if known.regions else "\nEach label is a region of its own; --region joins several into one."
    modalities = "1 modality" if len(known.modalities) == 1 else f"{len(known.modalities)} modalities"
    typer.echo(f"Wrote {path}: {modalities}, {number_of(len(known.labels), 'label')}.{alone}")
    typer.echo(f"Next: benchmark data scan {name} {folder or 'FOLDER'}")


def _ask(known: Described) -> None:
    """Ask for what a manifest cannot do without."""
    from benchmark.data import new_set as making

    if not known.modalities:
        example = making.EXAMPLES.get(known.source, making.EXAMPLE)
        asked = f"Modalities and how their files' names end, such as {example}"
        known.modalities = making.parse_pairs("modalities", typer.prompt(asked).split())
        asked = "How label maps' names end"
        known.label_end = known.label_end or typer.prompt(asked, default=making.LABEL_ENDS[known.source])
    if not known.labels:
        asked = "Label values and their meanings, such as 1=oedema, 2=enhancing tumour"
        known.labels = making.parse_labels("labels", typer.prompt(asked).split(","))
    if not known.regions:
        asked = "Regions and their label values, such as WT=1,2 ET=2; none: each label is one"
        known.regions = making.parse_regions("regions", typer.prompt(asked, default="", show_default=False).split())


@app.command()
def verify(
    name: Name,
    folder: Annotated[Path | None, typer.Option(help="Another folder than the one that was scanned.")] = None,
) -> None:
    """Read the files and what is prepared of them again and compare; exit code 1 if anything differs."""
    from benchmark.data.prepare import damaged
    from benchmark.data.scan import verify as run

    with reporting("verifying") as progress:
        problems = run(name, folder, progress=progress)
    with reporting("reading what is prepared") as progress:
        problems += damaged(name, progress)
    for problem in problems:
        typer.echo(problem)
    typer.echo(
        f"{name}: {number_of(len(problems), 'problem')} found"
        if problems
        else f"{name}: every file is as it was scanned"
    )
    if problems:
        raise typer.Exit(1)


@app.command()
def prepare(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A scanned data set, or with --raw a folder to write.")],
    jobs: Annotated[int, typer.Option(min=1, help="Cases prepared at a time; memory grows with it.")] = 1,
    raw: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder of raw scans to register and strip instead.")
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(
            help="Brain masks: name of files, mask for CASE_mask.nii.gz, or a command with {input}, {output}."
        ),
    ] = None,
    template: Annotated[
        Path | None, typer.Option(help="Volume whose space prepared scans get; by default each T1c's own.")
    ] = None,
    manifest: Annotated[str | None, typer.Option(help="Known set whose raw files are named alike.")] = None,
    keep_bias: Annotated[
        bool, typer.Option("--keep-bias", help="Use bias fields to register only; intensities stay.")
    ] = False,
) -> None:
    """Normalise, crop and store the volumes of all cases, so that training reads single slices or blocks.

    With --raw, scans as a hospital has them are instead bias corrected, registered and stripped to the brain, as a
    folder to scan or to predict on.
    """
    if raw:
        _prepare_raw(raw, Path(name), mask, template, manifest, keep_bias, jobs)
        return
    if mask or template or manifest or keep_bias:
        raise InputError("--mask, --template, --manifest and --keep-bias: expected --raw FOLDER with them, found none.")
    from benchmark.data.prepare import prepare as run

    with reporting("preparing") as progress:
        prepared = run(name, jobs=jobs, progress=progress)
    typer.echo(f"{name}: {number_of(len(prepared), 'case')} prepared")


def _prepare_raw(
    raw: Path, out: Path, mask: str | None, template: Path | None, manifest: str | None, keep_bias: bool, jobs: int
) -> None:
    from benchmark.data.manifest import load_manifest
    from benchmark.data.raw import Wanted
    from benchmark.data.raw import prepare as run

    if mask is None:
        raise InputError("--raw: expected --mask NAME or --mask COMMAND too, as networks are given the brain only.")
    with reporting("preparing") as progress:
        layout = load_manifest(manifest) if manifest else None
        prepared, refused = run(raw, out, Wanted(mask, template, keep_bias), layout, jobs, progress)
    typer.echo(f"{out}: {number_of(len(prepared), 'case')} prepared; look at each in {out / 'previews.html'}")
    for case, sentence in refused.items():
        typer.echo(f"{case} is refused: {sentence}", err=True)
    if refused:
        of = number_of(len(prepared) + len(refused), "case")
        raise InputError(f"{raw}: expected to prepare {of}, refused {len(refused)}: {', '.join(refused)}.")


@app.command()
def example(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
    patients: Annotated[int, typer.Option(min=2, help="Patients of the phantom.")] = 12,
) -> None:
    """Write label maps and two made sets of predictions, to try `benchmark compare` on."""
    from benchmark.data.example import write

    with reporting("writing") as progress:
        write(folder, patients=patients, progress=progress)
    typer.echo(f"{folder}: labels, and predictions network_a and network_b (made by shifting labels, by no network)")


@app.command("list")
def list_sets(
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of objects.")] = False,
) -> None:
    """Show the known data sets: cases, folder on this machine, licence, and where to get them."""
    import json

    from benchmark.data.manifest import known

    if as_json:
        names = ("title", "expected_cases", "modalities", "licence", "access", "address")
        rows = [
            {
                "name": row.name,
                "cases": row.cases,
                "folder": str(row.folder) if row.folder else None,
                "regions": list(row.manifest.regions),
                **{name: getattr(row.manifest, name) for name in names},
            }
            for row in known()
        ]
        typer.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    table = Table("name", "cases", show_lines=True)
    table.add_column("data set, folder, licence, where to get it", overflow="fold")
    for row in known():
        manifest = row.manifest
        cases = f"{'-' if row.cases is None else row.cases} of {manifest.expected_cases or '?'}"
        here = f"here: {row.folder}" if row.folder else "not here"
        licence = textwrap.shorten(manifest.licence, 140, placeholder=" …")
        address = f"{manifest.access}: {manifest.address}"
        table.add_row(row.name, cases, escape("\n".join((manifest.title, here, licence, address))))
    console().print(table, highlight=False)


@app.command()
def fetch(
    name: Name,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put the files.")],
) -> None:
    """Download an openly served set, going on where an earlier try stopped; for others, say where to register."""
    from benchmark.data.fetch import fetch as run

    with reporting("fetching") as progress:
        text = run(name, folder, progress=progress)
    typer.echo(text)


@app.command()
def folds(
    name: Name,
    k: Annotated[int | None, typer.Option(help="Number of folds; each patient is tested in one of them.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the random split.")] = None,
    validation: Annotated[float | None, typer.Option(help="Share of a fold's other patients for validation.")] = None,
    fractions: Annotated[
        tuple[float, float, float] | None, typer.Option(metavar="TRAIN VALIDATION TEST", help="One split instead.")
    ] = None,
    by: Annotated[
        str, typer.Option(help="patient; slice, which lets patients leak; or published, the publisher's own split.")
    ] = "patient",
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite folds that differ.")] = False,
) -> None:
    """Split a set's patients into folds; what is not given is taken from the manifest."""
    from benchmark.data.folds import leaked_patients, remake
    from benchmark.data.manifest import load_cases

    path, made, state = remake(
        name, k=k, seed=seed, validation=validation, fractions=fractions, replace=replace, split=by
    )
    typer.echo(f"{path} ({state})")
    cases = load_cases(name).cases
    for index, fold in enumerate(made):
        sizes = f"train {len(fold.train)}, validation {len(fold.validation)}, test {len(fold.test)}"
        leaked = len(leaked_patients(fold, cases))
        warning = f"; {leaked} patients of the test side are also in training or validation" if leaked else ""
        typer.echo(f"fold {index}: {sizes} {fold.by}s{warning}")


@app.command()
def audit(
    name: Name,
    split: Annotated[list[str] | None, typer.Option(help="A split to audit, repeatable; all by default.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Folder of label maps to look for in this set.")] = None,
    patients: Annotated[Path | None, typer.Option(help="CSV file with other ids of this set's cases.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list, clean checks included.")] = False,
) -> None:
    """Audit a data set: patient leaks, duplicates, box-shaped masks, abnormal scans; exit code 1 after an error."""
    import dataclasses
    import json

    from benchmark.data.audit import audit as run
    from benchmark.data.label_maps import label_files

    with reporting("auditing") as progress:
        found = run(name, split, label_files(labels) if labels else None, patients, progress)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(finding) for finding in found], indent=1, ensure_ascii=False))
    else:
        _print_findings(name, found)
    if any(finding.severity == "error" for finding in found):
        raise typer.Exit(1)


def _print_findings(name: str, found: list[Finding]) -> None:
    """Print what was found as a table, the worst first, and in a line each what was clean and what was not checked."""
    table = Table("", "check", show_lines=True)
    table.add_column("what was found, in which first", overflow="fold", ratio=1)
    quiet: dict[str, list[str]] = {"clean": [], "not checked": []}
    for finding in found:
        check = f"{finding.check} ({finding.where})" if finding.where else finding.check
        if finding.severity in quiet:
            quiet[finding.severity].append(check)
            continue
        more = ", …" if finding.count > len(finding.examples) > 0 else ""
        examples = f"\n{', '.join(finding.examples)}{more}" if finding.examples else ""
        count = f"{finding.count} of {finding.total}"
        table.add_row(finding.severity, escape(f"{check}\n{count}"), escape(finding.sentence + examples))
    if table.rows:
        console().print(table, highlight=False)
    for severity, checks in quiet.items():
        if checks:
            said = "could not be checked" if severity == "not checked" else severity
            console().print(escape(f"{name}, {said}: {', '.join(checks)}."), highlight=False)
