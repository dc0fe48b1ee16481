"""Turn command lines that begin with ``benchmark data`` into calls of the data room."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from benchmark.base.progress import console, reporting

if TYPE_CHECKING:
    from benchmark.data.audit.measures import Finding

app = typer.Typer(no_args_is_help=True, help="Find, check, fetch and prepare data sets.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A scanned data set, as `benchmark data list` shows it.")]


@app.command()
def scan(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A known data set: brats2018, msd_brain, …")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where its files are on this machine.")],
    name: Annotated[str | None, typer.Option(help="Name of the case list, if not SOURCE (a subset, a copy).")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite a case list that differs.")] = False,
) -> None:
    """Read and check every file, and write the case list with hashes to data_manifests/."""
    from benchmark.data.scan import scan as run

    with reporting("scanning") as progress:
        result = run(source, folder, name=name, replace=replace, progress=progress)
    state = "written" if result.written else "unchanged"
    patients = len(result.listed.patients)
    typer.echo(f"{len(result.listed.cases)} cases of {patients} patients: {result.cases_file} ({state})")
    for warning in result.warnings:
        typer.echo(f"warning: {warning}")


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
    typer.echo(f"{name}: {len(problems)} problems found" if problems else f"{name}: every file is as it was scanned")
    if problems:
        raise typer.Exit(1)


@app.command()
def prepare(
    name: Name,
    jobs: Annotated[int, typer.Option(min=1, help="Cases prepared at a time; memory grows with it.")] = 1,
) -> None:
    """Normalise, crop and store the volumes of all cases, so that training reads single slices."""
    from benchmark.data.prepare import prepare as run

    with reporting("preparing") as progress:
        prepared = run(name, jobs=jobs, progress=progress)
    typer.echo(f"{name}: {len(prepared)} cases are prepared")


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
        cases = f"{'-' if row.cases is None else row.cases} of {manifest.expected_cases}"
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
    """Print what was found as a table, the worst first, and in a line each what was clean and what not checked."""
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
            console().print(escape(f"{name}, {severity}: {', '.join(checks)}."), highlight=False)
