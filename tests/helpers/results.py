"""A study of three models in memory, as a report is made from it."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmark.data.folds import Sides
from benchmark.papers import figures as papers
from benchmark.report import Panel, figures, other_tests, probabilities
from benchmark.report.document import APPENDIX, REPORT
from benchmark.report.figures import View
from benchmark.results.results import BETTER, Results
from benchmark.stats.compare import compare
from benchmark.stats.patients import with_models
from helpers.project import declared
from helpers.synthetic_scores import disc, histories, realistic, wide

STUDY = {
    "title": "A study of 3 models & 50% effort", "folds": [0, 1, 2], "seeds": [1, 2],
    "models": [{"bundle": "unet"}, {"bundle": "resunet_tversky"}, {"bundle": "la_resunet", "set": {"fusion": False}}],
    "set": {"max_epochs": 8}, "deviations": "It must end within ten minutes.",
    "compare": {"metrics": ["dice", "hd95"], "pairs": "all", "test": "wilcoxon", "alpha": 0.05},
}  # fmt: skip
QUICK = {**STUDY, "compare": {**STUDY["compare"], "metrics": ["dice"]}}
MANIFEST = {
    "name": "phantom", "title": "Glioma phantom", "source": "phantom", "pictures": "public", "licence": "a_b",
    "labels": {"0": "background", "1": "core", "2": "oedema"}, "warnings": ["Lesions are drawn, not grown."],
    "unit": "mm", "lesions": None,
}  # fmt: skip


def pages_text(folder):
    """The text of a report and its appendix."""
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in (REPORT, APPENDIX))


def blank_pictures(patch, of_papers=True):
    """Let figures be written as blank ones, but for a paper's if asked: drawing them is half of what a report costs."""
    save = figures.save
    for module in (figures, other_tests, probabilities, *([papers] if of_papers else [])):
        patch.setattr(module, "save", lambda _, path, **about: save(Figure((1, 1)), path, **about))


def panel(model="unet", rank="best", case="phantom_1"):
    truth = np.where(disc(60, (30, 35), 12), 2, 0)
    truth[disc(60, (30, 35), 6)] = 1
    image = np.where(disc(60, (30, 30), 26), 100 + np.arange(60), 0)
    return Panel(case, rank, 0.9, image, truth, np.roll(truth, 3, 0), model)


def view(rank="Best of 18 cases", models=("unet", "resunet_tversky", "la_resunet")):
    one = panel()
    shown, predictions = "FLAIR, axial slice 34 of 77 from below", dict.fromkeys(models, one.prediction)
    return View(one.case_id, rank, shown, True, one.image, one.truth, predictions, dict.fromkeys(models, 0.8))


def demo(study=STUDY, manifest=MANIFEST, scores=None, **given):
    """Results of a study in memory; its tables follow from ``scores``, and what has no file here is empty."""
    scores = with_models(realistic() if scores is None else scores)
    as_file = wide(scores.drop(columns="model"))
    usual = {
        "raw": as_file, "merged": as_file, "views": [],
        "manifest": SimpleNamespace(**manifest), "scores": scores, "every": scores, "apart": scores.iloc[:0],
        "external": {}, "limits": [], "compared_models": list(pd.unique(scores["model"])), "lesions": pd.DataFrame(),
        "counted": pd.DataFrame(),
        "comparisons": compare(scores, study["compare"], BETTER),
        "histories": histories(epochs=4), "differences": {}, "missing": {}, "warnings": [], "paper": None,
        "provenance": SimpleNamespace(runs={}), "costs": None,
        "configs": {model["bundle"]: {"max_epochs": 4} for model in study["models"]},
        "panels": [panel(rank=rank) for rank in ("best", "median", "worst")],
        "folds": [(Sides(train=("P00",), validation=("P01",), test=("P02",)),) * 3],
        "origin": {"commit": "9f" * 20, "versions": {"torch": "2.8"}},
    }  # fmt: skip
    return Results(declared(**study), **{**usual, **given})
