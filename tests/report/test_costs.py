"""What a model cost: known times and sizes of a few runs, and a reason for each number that is lacking."""

import pandas as pd
import pytest

from benchmark.report import costs
from benchmark.studies.provenance import Provenance

CARD = {"device": "H100", "precision": "bfloat16", "commit": "c"}
OLD = {"device": "cpu x2", "commit": "c"}
SIZE = {"parameters": 1_948_595, "multiply_adds": 378_347_520, "input": (4, 80, 96)}
MODELS = {"unet": "", "la_resunet/plain": ""}


def ran(train, predict=None, network=None):
    stages = {"train": train, "score": {"seconds": 0.1, "peak_memory_mb": 1, "device": "cpu", "commit": "c"}}
    stages |= {"predict": predict} if predict else {}
    made = {"fingerprint": "0", "commit": "c", "platform": "", "overrides": {}, "started": "", "stages": stages}
    return {**made, "network": network} if network else made


def stage(seconds, memory, place=CARD, **more):
    return {"seconds": seconds, "peak_memory_mb": memory, **place, **more}


def provenance(runs, **more):
    head = {"gathered": "", "cases_sha256": "", "folds_sha256": {}, "versions": (), "code": {}, "version": 2}
    return Provenance(**head, runs=runs, **more)


def history(*seconds):
    return pd.DataFrame({"epoch": range(1, len(seconds) + 1), "seconds": seconds})


def on_the_card():
    whole = {"processor_seconds": 3600.0, "at_once": 4, "peak_gpu_memory_mb": 734, "reserved_gpu_memory_mb": 900}
    alone = {**whole, "processor_seconds": 7200.0, "at_once": 1, "peak_gpu_memory_mb": 700}
    runs = {
        "unet/default/fold0-seed1": ran(stage(40.0, 2000, **alone), stage(12.0, 2100), SIZE),
        "unet/default/fold1-seed1": ran(stage(70.0, 2300, **whole), stage(6.0, 2400), SIZE),
    }
    histories = {name: history(*times) for name, times in zip(runs, [(10.0, 20.0), (30.0, 20.0, 16.0)], strict=True)}
    return costs.costs(provenance(runs), histories, dict.fromkeys(runs, 6), {"unet": ""})


def texts(row):
    """What a row of a table shows."""
    return [getattr(cell, "text", cell) for cell in row]


def test_the_numbers_of_two_runs_are_those_of_a_sum_by_hand():
    (row,) = on_the_card().to_dict("records")
    assert tuple(row) == costs.COLUMNS
    assert row == {
        "model": "unet", "device": "H100", "precision": "bfloat16", "runs": 2, "at_once": "1 or 4",
        "input": "4 x 80 x 96", "parameters": 1_948_595, "multiply_adds": 378_347_520,
        "epochs": 2.5, "epoch_seconds": 96 / 5, "epoch_seconds_least": 15.0, "epoch_seconds_most": 22.0,
        "training_hours": pytest.approx(48 / 3600, rel=1e-5), "processor_hours": 1.5,
        "host_memory_mb": 2300, "device_memory_mb": 734, "inference_case_seconds": 1.5, "note": "",
    }  # fmt: skip


def test_a_table_of_them_says_where_and_lacks_nothing():
    _, table = costs.blocks(on_the_card())
    (row,) = table.rows
    assert texts(row) == ["unet", "1.95", "0.378", "2.5", "19.2 (15 to 22)", "0.0133", "1.5", "2,300", "734", "1.5",
                   "H100, bfloat16, 1 or 4 at once"]  # fmt: skip
    assert len(table.header) == len(row)
    assert list(table.notes) == [costs.MEANING, "Input: channels x size, 4 x 80 x 96."]


def test_what_old_records_lack_stays_blank_and_is_said_once():
    runs = {
        f"{name}/fold0-seed1": ran(stage(10.0, 800, OLD), stage(3.0, 800, OLD))
        for name in ("unet/default", "la_resunet/plain")
    }
    histories = {name: history(4.0) for name in runs}
    models = {**MODELS, "both": "joins unet and la_resunet/plain", "other": "made by another tool"}
    found = costs.costs(provenance(runs), histories, dict.fromkeys(runs, 6), models)
    assert list(found["model"]) == list(models)
    blank = ["precision", "at_once", "input", "parameters", "multiply_adds", "processor_hours", "device_memory_mb"]
    assert found[blank].replace("", None).isna().all(axis=None)
    assert found.loc[:1, ["epoch_seconds", "inference_case_seconds"]].values.tolist() == [[4.0, 0.5]] * 2
    _, table = costs.blocks(found)
    assert [texts(row)[1] for row in table.rows] == ["-"] * 4 and texts(table.rows[3])[-1] == "-"
    assert list(table.notes)[1:] == [
        "Not recorded when the runs were made: Processor, precision, Parameters, Multiply-adds.",
        "Not used in training: GPU.",
        "Not recorded, or each started by a command of its own: runs at once.",
        "Joins unet and la_resunet/plain (both).",
        "Made by another tool (other).",
    ]


def test_sizes_that_were_counted_later_are_called_that():
    runs = {"unet/default/fold0-seed1": ran(stage(10.0, 800, OLD))}
    (row,) = costs.costs(provenance(runs, networks={"unet": SIZE}), {}, {}, {"unet": ""}).to_dict("records")
    assert (row["parameters"], row["input"]) == (1_948_595, "4 x 80 x 96")
    assert "parameters, multiply_adds: counted later, from the ids that the runs recorded as set" in row["note"]
    # Nor is there an epoch or a case to divide by.
    assert "epochs, epoch_seconds, training_hours, processor_hours: no table of the epochs" in row["note"]
    assert "inference_case_seconds: not recorded" in row["note"] and pd.isna(row["inference_case_seconds"])


def test_processor_time_of_a_last_process_is_not_that_of_a_training():
    runs = {"unet/default/fold0-seed1": ran(stage(10.0, 800, processor_seconds=9.0), network=SIZE)}
    resumed = costs.costs(provenance(runs), {next(iter(runs)): history(8.0, 8.0)}, {}, {"unet": ""})
    assert resumed["processor_hours"].isna().all() and resumed["training_hours"].item() == pytest.approx(
        16 / 3600, 1e-5
    )
    assert "processor_hours: a run was killed and gone on with" in resumed["note"].item()


def test_runs_on_two_devices_are_two_rows():
    runs = {
        "unet/default/fold0-seed1": ran(stage(10.0, 800, OLD), network=SIZE),
        "unet/default/fold1-seed1": ran(stage(1.0, 900, peak_gpu_memory_mb=700), network=SIZE),
    }
    found = costs.costs(provenance(runs), {}, {}, {"unet": ""})
    assert found[["device", "host_memory_mb"]].values.tolist() == [["cpu x2", 800], ["H100", 900]]


def test_there_is_no_section_without_a_record():
    assert costs.costs(provenance({}), {}, {}, {"unet": "", "other": "made by another tool"}) is None
    assert costs.blocks(None) == []


def test_an_ensemble_costs_the_sum_of_its_members_where_each_was_trained_in_one_place():
    runs = {
        f"{name}/fold0-seed1": ran(stage(10.0, 800, processor_seconds=7200.0), stage(seconds, 800), SIZE)
        for name, seconds in (("unet/default", 3.0), ("la_resunet/plain", 9.0))
    }
    histories = {name: history(3.6, 3.6) for name in runs}
    # Declared before what it joins.
    models = {"both": "joins them", **MODELS, "gated": "joins them", "none": "joins them"}
    ensembles = {"both": [*MODELS], "none": ["unet", "never"]}
    found = costs.costs(provenance(runs), histories, dict.fromkeys(runs, 6), models, ensembles).set_index("model")
    assert found.loc["both", [*costs.SUMMED]].tolist() == [
        2 * SIZE["parameters"], 2 * SIZE["multiply_adds"], pytest.approx(0.004), 4.0, 2.0
    ]  # fmt: skip
    rest = [name for name in costs.COLUMNS[1:-1] if name not in costs.SUMMED]
    assert found.loc["both", rest].replace("", None).isna().all()
    assert found.loc[["gated", "none"], [*costs.SUMMED]].isna().all(axis=None)
    # Two places have two prices.
    moved = {**runs, "unet/default/fold1-seed1": ran(stage(10.0, 800, OLD), stage(3.0, 800, OLD), SIZE)}
    found = costs.costs(provenance(moved), histories, dict.fromkeys(moved, 6), models, ensembles).set_index("model")
    assert found.loc["both", [*costs.SUMMED]].isna().all()
