"""Write small studies, copy manifests and run the command line, for tests."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
CHANNELS = [4, 8, 16, 32, 64]
GENERATOR = {"seed": 2026, "patients": 8, "spacing": 6.0}
TINY = {
    "title": "Tiny",
    "data": "phantom",
    "folds": [0],
    "seeds": [1],
    "models": [{"bundle": "unet"}, {"bundle": "resunet_tversky"}, {"bundle": "la_resunet"}],
    "set": {
        "spatial_size": [32, 32],
        "channels": CHANNELS,
        "max_epochs": 2,
        "epoch_images": 32,
        "batch_size": 8,
        "learning_rate": 0.001,
    },
    "deviations": "As small as it can be, for tests.",
    "compare": {"metrics": ["dice", "hd95"], "pairs": "all", "test": "wilcoxon", "alpha": 0.05},
    "check": {"metrics": ["dice"], "margin": 0.02},
}


def declared(*models, **entries):
    """A study as a value: models by their entries, or by their bundles' names, and what else ``study.json`` says."""
    from benchmark.studies.study import Study

    made = [{"bundle": model} if isinstance(model, str) else model for model in models]
    rest = {
        "name": "demo",
        "title": "Demo",
        "data": "phantom",
        "folds": [0],
        "seeds": [1],
        "compare": {"metrics": ["dice"]},
    }
    return Study(**{**rest, "models": made, **entries})


def write_study(name, **changes):
    """Write ``reports/<name>/study.json`` into the project of the working directory: ``TINY`` with changes."""
    path = Path("reports", name, "study.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**TINY, **changes}), encoding="utf-8")
    return path


def shell(*arguments, **options):
    """Run ``benchmark`` as a process of its own in the working directory; returns the finished process."""
    return subprocess.run(
        [sys.executable, "-m", "benchmark", *arguments], capture_output=True, text=True, timeout=900, **options
    )


def copy_manifests(root):
    """Copy what is known of the published sets into a project, without any set's cases and folds."""
    (root / "data_manifests").mkdir()
    for path in (REPOSITORY / "data_manifests").glob("*.json"):
        if path.name.count(".") == 1:
            shutil.copy(path, root / "data_manifests")
