"""Build what a release consists of into ``dist/VERSION/``, and check it: ``tox -e release`` (docs/release.md)."""

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import benchmark

ROOT = Path(__file__).parent
NAME = f"brain-tumor-benchmark-{benchmark.__version__}"

ALONE = """--help
data example example
score --manifest phantom --reference example/labels --prediction example/network_a --name a --out a.csv
compare --manifest phantom --reference example/labels a=example/network_a b=example/network_b --out report"""
"""Commands that the wheel must do where nothing else of this repository is."""


def main() -> None:
    """Build and check a release; end with one sentence about the first thing that keeps it from being one."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--trial", action="store_true", help="also before the changelog names the version")
    trial = parser.parse_args().trial
    # What is tried alone must not find this folder.
    os.environ.pop("PYTHONPATH", None)
    target = ROOT / "dist" / benchmark.__version__
    if target.exists():
        sys.exit(f"{target} is there: expected no such folder; move it away.")
    if changed := do("git", "status", "--porcelain", said=True):
        sys.exit(f"{changed.split()[-1]} is not as committed: expected a release to be what a commit holds.")
    check_names(trial)
    do(sys.executable, "-m", "build", "--outdir", target, ROOT)
    do("git", "archive", f"--prefix={NAME}/", "--output", target / f"{NAME}-with-results.zip", "HEAD")
    (wheel,) = target.glob("*.whl")
    do(sys.executable, "-m", "twine", "check", "--strict", wheel, *target.glob("*.tar.gz"))
    use_alone(wheel)
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(target.iterdir())]
    (target / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
    print(f"{target}:\n{''.join(lines)}", end="")


def check_names(trial: bool) -> None:
    """Refuse a citation that is not valid or not of this version, and a changelog that does not begin with it."""
    do("cffconvert", "--validate", "--infile", ROOT / "CITATION.cff")
    cited = dict(re.findall(r"^(version|date-released): (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE))
    if cited["version"] != benchmark.__version__:
        sys.exit(f"CITATION.cff: expected version {benchmark.__version__}, found {cited['version']}.")
    heading = re.search(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    expected, found = f"{benchmark.__version__} ({cited['date-released']})", heading[1] if heading else "none"
    if found != expected and not trial:
        sys.exit(f"CHANGELOG.md: expected {expected} as its first heading, found {found}.")


def use_alone(wheel: Path) -> None:
    """Install the wheel with the tested set into an environment of its own, and use it in an empty folder."""
    with tempfile.TemporaryDirectory() as made:
        venv.create(Path(made, "alone"), with_pip=True)
        programs, folder = Path(made, "alone", "bin"), Path(made, "empty")
        folder.mkdir()
        do(programs / "python", "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel)
        for line in ALONE.splitlines():
            do(programs / "benchmark", *line.split(), folder=folder)
        for name in ("a.csv", "report/report.html", "report/compared.json"):
            if not (folder / name).exists():
                sys.exit(f"The wheel alone wrote no {name}: expected it from `benchmark {line}`.")


def do(*words: str | Path, folder: Path = ROOT, said: bool = False) -> str:
    """Run a command, and return what it says if that is asked for; end where it fails."""
    print("$", *words, flush=True)
    done = subprocess.run(list(map(str, words)), cwd=folder, text=True, stdout=subprocess.PIPE if said else None)
    if done.returncode:
        sys.exit(f"`{' '.join(map(str, words))}` ended with {done.returncode}.")
    return done.stdout or ""


if __name__ == "__main__":
    main()
