import numpy as np
import pandas as pd
import pytest
from helpers.synthetic_scores import realistic
from scipy import stats
from statsmodels.stats.multitest import multipletests

from benchmark.base.records import InputError
from benchmark.stats.compare import CLAIMS_SHUT, NOT_SHOWN, compare, compare_methods, gate_shut
from benchmark.stats.families import GATED, PRIMARY, families, holm, holm_claims
from benchmark.stats.paired import OneSided, holm_one_sided

BETTER = {"dice": "higher", "hd95": "lower", "iou": "higher"}
FAMILY = np.array([PRIMARY, PRIMARY, GATED, GATED, GATED], dtype=object)
EVERY = {"metrics": ["dice", "hd95"], "pairs": "all", "margin": {"dice": 0.02}}


def test_an_open_gate_by_hand():
    # Holm of (0.02, 0.01): 2 x 0.01, then 1 x 0.02. Of (0.001, 0.03, 0.04): 0.003, 0.06, 0.06; no gated p is below
    # the gate's 0.02.
    found = holm(np.array([0.02, 0.01, 0.001, 0.03, 0.04]), FAMILY, 0.05)
    assert found.tolist() == pytest.approx([0.02, 0.02, 0.02, 0.06, 0.06])


def test_a_shut_gate_by_hand():
    found = holm(np.array([0.2, 0.01, 0.001, 0.03, 0.04]), FAMILY, 0.05)
    assert found.tolist() == pytest.approx([0.2, 0.02, 1, 1, 1])


def test_one_family_is_holms_own():
    p = np.random.default_rng(1).uniform(0, 0.2, 12)
    assert holm(p, np.full(12, PRIMARY, dtype=object), 0.05) == pytest.approx(multipletests(p, method="holm")[1])


def test_claims_of_the_gated_need_equivalence_of_all_primary_rows():
    above, below = np.array([0.01, 0.01, 0.004, 0.3, np.nan]), np.array([0.002, 0.002, 0.9, 0.3, np.nan])
    one_by_one = [holm_one_sided(OneSided(above[at], below[at])) for at in (slice(0, 2), slice(2, 5))]
    found = holm_claims(OneSided(above, below), FAMILY, 0.05)
    gate = max(one_by_one[0].equivalent)
    assert gate < 0.05
    assert found.above[:2] == pytest.approx(one_by_one[0].above)
    assert found.above[2:] == pytest.approx(np.maximum(one_by_one[1].above, gate), nan_ok=True)
    # No longer equivalent, though one side is still shown: the gate is shut.
    found = holm_claims(OneSided(above, np.where(below == 0.002, [0.9, 0.002, 0, 0, 0], below)), FAMILY, 0.05)
    assert found.above[:2].max() < 0.05
    assert found.above[2:] == pytest.approx([1, 1, np.nan], nan_ok=True)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0], ids=["gate has no true null", "half", "all true"])
def test_the_family_wise_error_is_at_most_alpha(share, monkeypatch):
    # statsmodels collects garbage in every call, which takes a thousand times as long as Holm's procedure.
    monkeypatch.setattr("gc.collect", lambda: 0)
    # 4 primary and 12 gated tests whose statistics share a part, as metrics of one scan do; the gated are all null.
    random, trials = np.random.default_rng(5), 10_000
    family = np.array([PRIMARY] * 4 + [GATED] * 12, dtype=object)
    null = np.array([place < 4 * share for place in range(4)] + [True] * 12)
    z = 0.6 * random.normal(size=(trials, 1)) + 0.8 * random.normal(size=(trials, 16)) + np.where(null, 0, 5.0)
    p = 2 * stats.norm.sf(np.abs(z))
    wrong = sum((holm(row, family, 0.05)[null] < 0.05).any() for row in p) / trials
    assert wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)
    # With an open gate the gated family has all of alpha, so the error must not be far below either.
    assert wrong >= 0.02
    # Without a gate, each family at alpha of its own, the two together err more often.
    if share == 1:
        apart = [multipletests(row[:4], method="holm")[0].any() | multipletests(row[4:], method="holm")[0].any()
                 for row in p]  # fmt: skip
        assert np.mean(apart) > 0.055


def test_the_default_primary_family_is_the_first_metric_with_all_pairs_and_regions():
    found = compare(realistic(), {**EVERY, "primary": {}}, BETTER)
    assert (found["family"] == np.where(found["metric"] == "dice", PRIMARY, GATED)).all()
    own = found[found["family"] == PRIMARY]
    assert own["p_holm"].to_numpy() == pytest.approx(multipletests(own["p"], method="holm")[1])


def test_without_the_field_all_comparisons_are_one_family():
    found = compare(realistic(), EVERY, BETTER)
    assert set(found["family"]) == {PRIMARY}
    assert found["p_holm"].to_numpy() == pytest.approx(multipletests(found["p"], method="holm")[1])


def test_gated_rows_are_never_blank():
    # The two good models of the table do not differ, so that the gate stays shut.
    declared = {**EVERY, "primary": {"pairs": [["resunet_tversky/default", "unet"]], "regions": ["WT"]}}
    found = compare(realistic(), declared, BETTER)
    assert (found["family"] == PRIMARY).sum() == 1
    assert found.loc[found["family"] == PRIMARY, "p_holm"].item() == found.loc[found["family"] == PRIMARY, "p"].item()
    gated = found[found["family"] == GATED]
    assert (gated["p_holm"] == 1).all() and not gated["significant"].any()
    assert gated["note"].str.contains("gate shut: 1 of 1 primary comparisons show no difference").all()
    assert [gate_shut(row) for row in found.to_dict("records")] == (found["family"] == GATED).tolist()
    assert not gated["verdict"].str.contains("better").any()
    assert gated["p"].min() < 0.001
    methods = compare_methods(realistic(), declared, BETTER)
    assert (methods["family"] == found["family"]).all()
    assert (methods.loc[methods["family"] == GATED, "p_holm"] == 1).all()


def test_an_open_gate_lets_secondary_findings_through():
    declared = {**EVERY, "primary": {"pairs": [["la_resunet", "unet"]], "regions": ["WT", "TC"]}}
    found = compare(realistic(), declared, BETTER)
    assert found.loc[found["family"] == PRIMARY, "verdict"].tolist() == ["b better", "b better"]
    gated = found[found["family"] == GATED]
    assert gated["significant"].any()
    assert not gated["note"].str.contains("gate").any()
    assert not any(gate_shut(row) for row in found.to_dict("records"))
    smallest = found.loc[found["family"] == PRIMARY, "p_holm"].max()
    assert (gated["p_holm"] >= smallest).all()
    # Claims of equivalence have a gate of their own, which differences in the primary family keep shut.
    shown = gated[~gated["significant"] & gated["p_equivalent"].notna()]
    assert len(shown) and shown["p_equivalent"].min() < 0.01 and (shown["verdict"] == NOT_SHOWN).all()
    assert shown["note"].str.endswith(CLAIMS_SHUT).all()
    assert found["note"].str.contains(CLAIMS_SHUT).sum() == len(shown)


@pytest.mark.parametrize(
    ("primary", "said"),
    [
        ({"metrics": ["iou"]}, "compare.primary.metrics names iou"),
        ({"regions": ["NCR"]}, "compare.primary.regions names NCR"),
        ({"pairs": [["unet", "nnunet"]]}, "compare.primary.pairs names nnunet and unet"),
    ],
)
def test_a_primary_family_of_what_is_not_compared_is_refused(primary, said):
    with pytest.raises(InputError, match=said):
        compare(realistic(), {**EVERY, "primary": primary}, BETTER)


def test_families_of_no_comparisons():
    assert not len(families(pd.DataFrame(columns=["metric", "region", "model_a", "model_b"]), {"primary": {}}))


def test_a_primary_family_without_a_comparison_is_refused():
    table = pd.DataFrame({"metric": ["dice", "hd95"], "region": ["WT", "TC"], "model_a": "a", "model_b": "b"})
    with pytest.raises(InputError, match="names no comparison"):
        families(table, {"metrics": ["dice", "hd95"], "primary": {"regions": ["TC"]}})
