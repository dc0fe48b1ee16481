"""What other programs import from ``benchmark``: that its examples run, and that the import is cheap."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

import benchmark

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["score_case", "read_scores", "compare", "compare_predictions", "read_study"])
def test_the_example_of_a_public_function_runs(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert f"``{name}``" in benchmark.__doc__ and name in dir(benchmark)
    function = getattr(benchmark, name)
    (example,) = doctest.DocTestFinder(recurse=False).find(function, name, globs={})
    assert f"benchmark.{name}(" in example.docstring
    assert doctest.DocTestRunner().run(example).failed == 0


def test_other_names_are_refused_and_the_import_is_cheap():
    with pytest.raises(AttributeError, match="no attribute 'score_cases'"):
        _ = benchmark.score_cases
    code = "import sys, benchmark; print(sorted({'numpy', 'pandas', 'torch', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_citation_is_of_the_last_version_that_the_changelog_names():
    cited = dict(re.findall(r"^(version|date-released): (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE))
    versions = re.findall(r"^## (\d.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert cited["version"] == benchmark.__version__
    assert versions[0] == f"{cited['version']} ({cited['date-released']})"
