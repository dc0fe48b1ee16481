"""What a run believes of its folder: weights, history and predictions are those that it made, and finite."""

import shutil

import pytest
import torch

pytestmark = pytest.mark.usefixtures("undrawn")
IDS = ["unet/default/fold0-seed1", "resunet_tversky/default/fold0-seed1"]


def spoil(folder, value):
    """Overwrite a run's weights by their multiples, which read like any."""
    path = folder / "models" / "model.pt"
    weights = torch.load(path, weights_only=True)
    torch.save({name: values * value for name, values in weights.items()}, path)


@pytest.mark.parametrize("value", [float("nan"), 0.5])
def test_a_finished_run_whose_weights_were_replaced_is_refused(finished, command, value):
    folder = finished / "runs" / "tiny" / IDS[0]
    path = folder / "models" / "model.pt"
    other = shutil.copy(path, finished / "copy.pt")
    spoil(folder, value)
    for arguments in (("report", "tiny"), ("run-all", "tiny")):
        code, _, err = command(*arguments)
        assert code == 2 and f"{path} is not what its run wrote: expected sha256" in err.splitlines()[-1]
    # The same bytes at another time are the same weights; without them the scores are what they were.
    shutil.copy(other, path)
    assert command("report", "tiny")[0] == 0
    path.unlink()
    assert command("report", "tiny")[0] == 0


def test_a_history_or_predictions_that_were_changed_are_refused(finished, command):
    folder = finished / "runs" / "tiny" / IDS[0]
    prediction, history = next((folder / "predictions").iterdir()), folder / "models" / "history.csv"
    kept, text = prediction.read_bytes(), history.read_text()
    prediction.write_bytes(next((finished / "runs" / "tiny" / IDS[1] / "predictions").iterdir()).read_bytes())
    code, _, err = command("report", "tiny")
    assert code == 2 and f"{folder}/predictions is not what its run wrote: expected sha256" in err
    (folder / "scores.csv").unlink()
    code, _, err = command("run", "tiny", IDS[0])
    assert code == 2 and f"{folder}/predictions is not what its run wrote: expected sha256" in err
    prediction.write_bytes(kept)
    assert command("run", "tiny", IDS[0])[0] == 0
    history.write_text(text.replace("\n1,", "\n7,"))
    code, _, err = command("report", "tiny")
    assert code == 2 and "history.csv is not what its run wrote: expected sha256" in err


def test_a_training_that_ends_with_weights_of_nan_fails_then(project, command, monkeypatch):
    from benchmark.studies import run

    def train(folder, kind, run_id):
        assert kind == "train"
        (folder / "models").mkdir()
        torch.save({"conv.bias": torch.tensor([0.0, torch.nan])}, folder / "models" / "model.pt")
        return {}

    monkeypatch.setattr(run, "_workflow", train)
    code, _, err = command("run", "tiny", IDS[0])
    assert code == 2 and "model.pt: expected finite weights, found others in conv.bias" in err
    folder = project / "runs" / "tiny" / IDS[0]
    assert "expected finite weights" in (folder / "error.txt").read_text().splitlines()[-1]
    assert not (folder / "predictions").exists()
    # The same command again does not believe them either.
    assert command("run", "tiny", IDS[0])[0] == 2
