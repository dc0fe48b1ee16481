"""Scores that other tools wrote: nnU-Net v2's summary.json, panoptica's and MIST's tables."""

import json

import pytest
from helpers.project import REPOSITORY

from benchmark.base.records import InputError
from benchmark.data.manifest import find_manifest
from benchmark.scoring.other_tables import read_other

MANIFEST = find_manifest(str(REPOSITORY / "data_manifests" / "brats2020.json"))
MSD = {1: 2, 2: 1, 3: 4}
# As nnU-Net v2 writes it where it was trained by regions: whole tumour (1, 2, 3), core (2, 3), enhancing (3,).
COUNTS = {"(1, 2, 3)": (6, 2, 4, 88), "(2, 3)": (3, 0, 1, 96), "(3,)": (0, 0, 0, 100)}


def summary(path, counts=COUNTS):
    metrics = {
        key: {"TP": tp, "FP": fp, "FN": fn, "TN": tn, "Dice": 2 * tp / (2 * tp + fp + fn) if tp else float("nan")}
        for key, (tp, fp, fn, tn) in counts.items()
    }
    case = {"reference_file": "/a/case_1.nii.gz", "prediction_file": "/b/case_1.nii.gz", "metrics": metrics}
    path.write_text(json.dumps({"metric_per_case": [case], "mean": {}, "foreground_mean": {}}))
    return path


def test_nnunets_counts_give_every_overlap_metric_by_our_rules(tmp_path):
    table = read_other(summary(tmp_path / "summary.json"), MANIFEST, MSD).set_index("region")
    assert set(table["case_id"]) == {"case_1"}
    assert table.loc["WT", ["dice", "iou", "sensitivity", "tn"]].tolist() == pytest.approx([12 / 18, 0.5, 0.6, 88])
    assert table.loc["ET", ["dice", "note"]].tolist() == [1.0, "both empty"]
    assert "hd95" not in table


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (
            {"1": (1, 0, 0, 9), "2": (1, 0, 0, 9), "3": (1, 0, 0, 9)},
            "expected WT, which is the labels 1, 2, 4 together",
        ),
        ({"(1, 2, 3)": (-1, 3, 1, 9)}, "expected counts of voxels, found one below 0"),
    ],
)
def test_labels_that_nnunet_scored_one_by_one_are_refused(tmp_path, counts, words):
    with pytest.raises(InputError, match=words):
        read_other(summary(tmp_path / "summary.json", counts), MANIFEST, MSD)


def test_another_json_is_refused(tmp_path):
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(InputError, match=r"other\.json: expected nnU-Net v2's summary\.json"):
        read_other(tmp_path / "other.json", MANIFEST, {})


def test_panopticas_table_gives_dice(tmp_path):
    path = tmp_path / "scores.tsv"
    path.write_text(
        "subject_name\tWT-tp\tWT-global_bin_dsc\tTC-global_bin_dsc\tET-global_bin_dsc\nc\t1\t0.5\t0.25\t1\n"
    )
    table = read_other(path, MANIFEST, {})
    assert table[["case_id", "region", "dice"]].to_numpy().tolist() == [
        ["c", "WT", 0.5],
        ["c", "TC", 0.25],
        ["c", "ET", 1],
    ]


def test_mists_table_gives_dice_without_its_statistics(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("id,wt_dice,tc_dice,et_dice,wt_haus95\nc,0.5,0.25,1,2.0\nMean,0.5,0.25,1,2.0\nMedian,0,0,0,0\n")
    table = read_other(path, MANIFEST, {})
    assert set(table["case_id"]) == {"c"} and set(table) == {"case_id", "region", "note", "dice"}
    path.write_text("id,wt_dice,tc_dice,et_dice\nc,0.5,,1\n")
    with pytest.raises(InputError, match="a Dice from 0 to 1 in tc_dice of case c, found none"):
        read_other(path, MANIFEST, {})
    path.write_text("id,wt_dice,et_dice\nc,0.5,1\n")
    with pytest.raises(InputError, match="expected a column TC_dice"):
        read_other(path, MANIFEST, {})


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a folder of label maps or a table of"):
        read_other(tmp_path / "nothing.csv", MANIFEST, {})
