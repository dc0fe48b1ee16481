import math

import numpy as np
import pandas as pd
import pytest
from helpers.synthetic_scores import disc

from benchmark.scoring import score_table
from benchmark.scoring.contours import TOLERANCE, contour_f1
from benchmark.scoring.masks import mask_pairs
from benchmark.scoring.metrics import METRICS, ON_REQUEST, score_case

ONE = {"tumour": [1]}


def square(size, top, left, edge):
    mask = np.zeros((size, size), dtype=np.uint8)
    mask[top : top + edge, left : left + edge] = 1
    return mask


def scored(reference, prediction, shape=None):
    reference, prediction = (np.asarray(mask, dtype=np.uint8) for mask in (reference, prediction))
    spacing = (0.5, 0.7, 2.0)[: reference.ndim]
    (row,) = score_case(reference, prediction, spacing, ONE, ON_REQUEST)
    return row["bf"], row["mean_bf"]


def slow(reference, prediction):
    """By definition, pixel by pixel: every contour pixel against every other."""

    def contour(mask):
        found = []
        for place in np.argwhere(mask):
            steps = [step * unit for unit in np.eye(mask.ndim, dtype=int) for step in (1, -1)]
            near = [tuple(place + step) for step in steps]
            inside = all(all(0 <= i < n for i, n in zip(one, mask.shape, strict=True)) and mask[one] for one in near)
            found += [] if inside else [place]
        return found

    def matched(own, other):
        limit = 0.75 / 100 * math.sqrt(sum(n**2 for n in reference.shape))
        return sum(any(math.dist(a, b) < limit for b in other) for a in own) / len(own)

    def one_class(truth, guess):
        if not truth.any() or not guess.any():
            return float(truth.any() == guess.any())
        first, second = contour(truth), contour(guess)
        precision, recall = matched(second, first), matched(first, second)
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    truth, guess = (np.asarray(mask) > 0 for mask in (reference, prediction))
    tumour = one_class(truth, guess)
    return tumour, (tumour + one_class(~truth, ~guess)) / 2


def test_squares_by_hand():
    # In 100 x 100 pixels the tolerance is 1.06 pixels: contours of direct neighbours match, those 2 apart do not.
    reference = square(100, 20, 20, 10)
    assert scored(reference, reference) == (1, 1)
    assert scored(reference, square(100, 20, 21, 10)) == (1, 1)
    # Two columns to the right: of the 36 pixels of either contour, 9 of the 10 in the upper and in the lower row have a
    # match at most 1 pixel away, and so have the two ends of the column that is inside the other square.
    found, _ = scored(reference, square(100, 20, 22, 10))
    assert found == pytest.approx((2 * 9 + 2) / 36)
    # Far apart nothing matches; of the background's contour only the 396 pixels of the frame do, beside 40 around each.
    tumour, mean = scored(reference, square(100, 70, 70, 10))
    assert tumour == 0
    assert mean == pytest.approx((396 / 436) / 2)


def test_a_share_of_the_contour_is_precision_or_recall():
    # The prediction is the reference and a second square: half of its contour is matched, all of the reference's is.
    reference, second = square(100, 20, 20, 10), square(100, 70, 70, 10)
    assert scored(reference, reference + second)[0] == pytest.approx(2 * 0.5 / 1.5)
    assert scored(reference + second, reference)[0] == pytest.approx(2 * 0.5 / 1.5)


def test_the_tolerance_is_a_share_of_the_diagonal_and_itself_no_match():
    # 300 x 400: the diagonal is 500 and the tolerance 3.75; of 120 x 160, 1.5; of 160 x 320 / 0.0075 it is exact.
    assert TOLERANCE * math.hypot(300, 400) == pytest.approx(3.75)
    for shape, far, expected in (((300, 400), 3, 1.0), ((300, 400), 4, 0.0), ((240, 320), 3, 0.0)):
        masks = np.zeros((2, *shape), dtype=bool)
        masks[0, 100, 100], masks[1, 100, 100 + far] = True, True
        # At 240 x 320 the tolerance is 3 pixels, and a contour 3 pixels away is not nearer than that.
        assert contour_f1(*masks, shape) == expected


def test_empty_and_full_masks():
    none, one, full = np.zeros((40, 40)), square(40, 5, 5, 4), np.ones((40, 40))
    assert scored(none, none) == (1, 1)
    tumour, mean = scored(one, none)
    assert tumour == 0 and mean == pytest.approx(slow(one, none)[1]) and 0.4 < mean < 0.5
    assert scored(none, one) == pytest.approx(slow(none, one))
    assert scored(full, full) == (1, 1)
    assert scored(full, one) == pytest.approx(slow(full, one))
    (row,) = score_case(one, None, (1.0, 1.0), ONE, ON_REQUEST)
    assert (row["bf"], row["mean_bf"]) == (0, 0)


def masks():
    random = np.random.default_rng(2)
    yield disc(60, (30, 28), 12), disc(60, (31, 30), 11)
    yield disc(60, (2, 3), 9), disc(60, (0, 0), 8)  # at the image's edge
    yield disc(40, (20, 20), 15) & ~disc(40, (20, 20), 7), disc(40, (20, 20), 14)  # a ring and a disc
    for _ in range(6):
        first = random.random((26, 33)) < random.uniform(0.02, 0.5)
        yield first, np.roll(first, random.integers(0, 3, 2), (0, 1)) ^ (random.random(first.shape) < 0.03)
    volume = random.random((9, 11, 8)) < 0.2
    yield volume, np.roll(volume, 1, 0)


@pytest.mark.parametrize("pair", masks(), ids=lambda pair: "x".join(map(str, pair[0].shape)))
def test_it_is_that_of_a_slow_implementation(pair):
    assert scored(*pair) == pytest.approx(slow(*pair), abs=1e-12)


def test_a_picture_of_one_slice_is_two_dimensional():
    pair = disc(60, (30, 28), 12), disc(60, (31, 30), 11)
    flat = [mask[:, :, None] for mask in pair]
    assert scored(*flat) == scored(*pair)


def test_the_box_knows_where_it_is():
    reference, prediction = square(50, 3, 7, 5), square(50, 6, 20, 4)
    ((_, pair),) = mask_pairs(reference, prediction, (1.0, 1.0), ONE)
    assert (np.pad(pair.reference, pair.around) == (reference > 0)).all()
    assert (np.pad(pair.prediction, pair.around) == (prediction > 0)).all()


def test_usual_scores_have_none_of_them_and_a_table_keeps_them_last(tmp_path):
    reference, prediction = square(50, 3, 7, 5), square(50, 4, 7, 5)
    who = {"bundle": "unet", "variant": "default", "fold": 0, "seed": 1, "patient_id": "P", "case_id": "P"}
    plain, more = (
        score_table.frame([who | row for row in score_case(reference, prediction, (1.0, 1.0), ONE, metrics)])
        for metrics in (METRICS, METRICS | {"mean_bf": ON_REQUEST["mean_bf"]})
    )
    assert not {*ON_REQUEST} & {*plain.columns}
    assert list(more.columns) == [*plain.columns, "mean_bf"]
    pd.testing.assert_frame_equal(more[list(plain.columns)], plain)
    score_table.write(tmp_path / "scores.csv", more)
    rows = score_table.read_tidy(tmp_path / "scores.csv")
    assert rows.loc[rows["metric"] == "mean_bf", "value"].item() == pytest.approx(slow(reference, prediction)[1])
