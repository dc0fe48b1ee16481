"""The table of single lesions that a run keeps: what is in it, and how a run without one gets it."""

import pandas as pd
import pytest

from benchmark.base.records import InputError
from benchmark.data.manifest import load_cases
from benchmark.scoring import lesion_table
from benchmark.studies import lesions, store, study


@pytest.fixture
def runs(finished):
    """The finished runs of the small study."""
    return study.load("tiny").runs()


def gathered(runs):
    return lesions.gather(runs, store.collect(runs), load_cases("phantom"))


def test_a_run_keeps_the_lesions_that_its_scores_count(runs):
    table, scores = lesion_table.read(store.folder(runs[0]) / "lesions.csv"), store.scores(runs[0])
    assert tuple(table) == lesion_table.COLUMNS and set(table["bundle"]) == {runs[0].bundle}
    counted = scores.set_index(["case_id", "region"])
    found = table.groupby(["case_id", "region"])["found"].agg(["sum", "size"])
    assert found["sum"].to_dict() == counted["lesion_tp"].loc[found.index].to_dict()
    assert found["size"].to_dict() == counted[["lesion_tp", "lesion_fn"]].sum(axis=1).loc[found.index].to_dict()
    assert not lesion_table.contradicted(table, scores)
    # Voxels have 216 mm³, so that no lesion is too small to count.
    sizes = table.groupby(["case_id", "region"])["volume"].sum()
    expected = counted[["tp", "fn"]].sum(axis=1).loc[sizes.index] * 0.216
    assert len(sizes) > 3 and sizes.to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-5)


def test_a_run_without_the_table_gets_it_from_its_predictions(runs):
    folder, whole = store.folder(runs[0]), gathered(runs)
    path = folder / "lesions.csv"
    kept, before = path.read_bytes(), {one: one.stat().st_mtime_ns for one in folder.rglob("*") if one.is_file()}
    path.unlink()
    pd.testing.assert_frame_equal(gathered(runs), whole)
    assert path.read_bytes() == kept
    assert all(one.stat().st_mtime_ns == at for one, at in before.items() if one != path)
    # Predictions that another run made are not its own.
    path.unlink()
    for one in (folder / "predictions").iterdir():
        one.write_bytes((store.folder(runs[1]) / "predictions" / one.name).read_bytes())
    with pytest.raises(InputError, match="predictions is not what its run wrote"):
        gathered(runs)


def test_scoring_again_writes_the_table_again_and_the_same_scores(runs, command):
    folder = store.folder(runs[0])
    kept = {name: (folder / name).read_bytes() for name in ("lesions.csv", "scores.csv")}
    for name in kept:
        (folder / name).unlink()
    assert command("run", "tiny", runs[0].id)[0] == 0
    assert {name: (folder / name).read_bytes() for name in kept} == kept


def test_a_run_without_predictions_is_left_out(runs, finished, command, undrawn):
    (store.folder(runs[0]) / "lesions.csv").unlink()
    for one in (store.folder(runs[0]) / "predictions").iterdir():
        one.unlink()
    assert set(gathered(runs)["bundle"]) == {run.bundle for run in runs[1:]}
    code, _, err = command("report", "tiny")
    assert code == 0, err
    text = (finished / "reports/tiny/appendix.md").read_text()
    assert "Lesions found, by their volume." in text
    assert f"Left out, as lesions.csv has not as many lesions as their scores count: {runs[0].bundle}." in text
    found = pd.read_csv(finished / "reports/tiny/recall.csv")
    assert set(found["model"]) == {run.bundle for run in runs[1:]}


def test_lesions_that_the_scores_do_not_count_are_refused(runs):
    path = store.folder(runs[0]) / "lesions.csv"
    table = lesion_table.read(path)
    for wrong in (table.assign(found=1 - table["found"]), table.iloc[1:]):
        path.write_text(lesion_table.as_text(wrong))
        with pytest.raises(InputError, match=r"lesions\.csv: expected the lesions that scores\.csv counts"):
            gathered(runs)
    path.write_text(lesion_table.as_text(table.assign(dice=1.5)))
    with pytest.raises(InputError, match="found and dice from 0 to 1"):
        gathered(runs)


def test_a_study_has_means_over_runs():
    one = pd.DataFrame({**dict.fromkeys(lesion_table.COLUMNS, "a"), "lesion": 1, "volume": 2.0, "dice": [0.0, 0.5],
                        "found": [0, 1], "seed": [1, 2]})  # fmt: skip
    (row,) = lesion_table.means(one).to_dict("records")
    assert (row["runs"], row["found"], row["dice"], row["volume"]) == (2, 0.5, 0.25, 2.0)
