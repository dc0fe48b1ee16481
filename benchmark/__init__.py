"""Compare brain tumour segmentation models that are MONAI bundles, reproducibly.

What other programs can import, each with an example in its docstring:

- ``score_case``: score a predicted label map against a reference, per region;
- ``read_scores``: read a table of scores, one row per score;
- ``compare``: test declared pairs of models over patients, corrected over the whole family;
- ``compare_predictions``: score and compare label maps that exist, with a whole report;
- ``read_study``: read a study by its name.
"""

import sys
from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "score_case": ("benchmark.scoring.metrics", "score_case"),
    "read_scores": ("benchmark.scoring.score_table", "read_tidy"),
    "compare": ("benchmark.stats.compare", "compare"),
    "compare_predictions": ("benchmark.results.predictions", "compare_predictions"),
    "read_study": ("benchmark.studies.study", "load"),
}


def __getattr__(name: str) -> Any:
    # On first use: the command line must start without pandas and scipy.
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    return getattr(import_module(module), attribute)


def _end_with_the_cause(kind: Any, error: BaseException, trace: Any) -> None:
    from benchmark.base.records import sentence

    sys.__excepthook__(kind, error, trace)
    print(f"Error: {sentence(error)}", file=sys.stderr)


# MONAI's own command, which imports this package for what a config names, ends with its outermost wrapper.
if getattr(getattr(sys.modules.get("__main__"), "__spec__", None), "name", "").startswith("monai.bundle"):
    sys.excepthook = _end_with_the_cause


def __dir__() -> list[str]:
    return [*globals(), *_PUBLIC]
