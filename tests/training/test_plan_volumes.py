"""nnU-Net's rules for 3d_fullres and its residual presets against plans that its own planners made (2.8.1)."""

import pytest
from helpers.project import REPOSITORY
from monai.bundle import ConfigParser

from benchmark.base.records import InputError
from benchmark.data.prepare import DataSet
from benchmark.training.plan import topology
from benchmark.training.plan_volumes import VolumePlanner, feature_map_size, plan

WIDTHS = (32, 64, 128, 256, 320, 320, 320)
BRATS, SMALL = ((140, 171, 136), (1, 1, 1), 1251), ((70, 86, 70), (2, 2, 2), 18)
PLANS = [
    (SMALL, "", (80, 96, 80), 2, 5), (SMALL, "M", (80, 96, 80), 8, 5), (SMALL, "L", (80, 96, 80), 12, 5),
    (BRATS, "", (128, 160, 112), 2, 6), (BRATS, "M", (128, 160, 112), 2, 6), (BRATS, "L", (160, 192, 160), 3, 6),
    (((390, 390, 20), (0.6, 0.6, 4), 100), "", (320, 320, 16), 2, 7),
    (((390, 390, 20), (0.6, 0.6, 4), 100), "L", (448, 448, 20), 2, 7),
    (((48, 60, 50), (3, 3, 3), 500), "", (48, 64, 56), 21, 4),
    (((48, 60, 50), (3, 3, 3), 500), "M", (48, 64, 56), 30, 4),
    (((200, 180, 36), (1, 1, 3), 77), "L", (224, 192, 40), 7, 6),
    (((288, 101, 174), (0.5, 0.5, 1), 200), "", (224, 64, 128), 2, 6),
]  # fmt: skip
"""Shape, spacing and number of equal cases, preset; patch along x, y and z, batch and stages that nnU-Net plans."""


@pytest.mark.parametrize(("cases", "preset", "patch", "batch", "stages"), PLANS)
def test_plans_are_nnunets(cases, preset, patch, batch, stages):
    shape, spacing, count = cases
    found = plan([shape] * count, [spacing] * count, labels=4, preset=preset)
    assert (found.topology.patch_size, found.batch_size) == (patch, batch)
    assert found.topology.widths(32, 320) == WIDTHS[:stages]


def test_dice_is_over_the_batch_only_where_a_coarser_network_is_planned_too():
    assert not plan([BRATS[0]] * 9, [BRATS[1]] * 9, 4).batch_dice
    assert plan([(512, 512, 400)] * 60, [(0.7, 0.7, 1)] * 60, 4).batch_dice


def test_memory_by_hand():
    """Three stages of 32, 64 and 128 channels on 16, 8 and 4 voxels a side; residual: 1, 3, 4 blocks."""
    stages = topology((1, 1, 1), (16, 16, 16))
    plain = 4 * 16**3 + (2 + 3) * 32 * 16**3 + (2 + 3) * 64 * 8**3 + 2 * 128 * 4**3
    assert feature_map_size(stages, labels=4) == plain
    residual = 4 * 16**3 + (1 + 2 + 2) * 32 * 16**3 + (7 + 2) * 64 * 8**3 + 9 * 128 * 4**3
    assert feature_map_size(stages, labels=4, residual=True) == residual


def test_an_unknown_preset_is_refused():
    with pytest.raises(InputError, match="preset is 'S': expected one of '', 'M', 'L'"):
        plan([(64, 64, 64)], [(1, 1, 1)], 4, "S")


def test_a_planner_reads_the_training_cases_of_a_fold(project):
    data = DataSet("phantom")
    planner, cases = VolumePlanner(data, 0), data.part(0, "train")
    shapes = [case.image.shape for case in cases]
    assert planner.plan == plan([(x, y, z) for z, _, x, y in shapes], [case.spacing for case in cases], 4)
    assert planner.plan.spacing == (6.0, 6.0, 6.0)
    assert planner.angles((32, 32, 32)) == (30.0, 30.0, 30.0) and planner.angles((48, 48, 12)) == (0.0, 0.0, 180.0)


def test_its_own_recipe_is_planned_in_3d_from_the_data(project):
    made = ConfigParser()
    made.read_config([f"{REPOSITORY}/bundles/nnunet/configs/{kind}.json" for kind in ("train", "native")])
    made.update({"spatial_dims": 3})
    wanted = VolumePlanner(DataSet("phantom"), 0).plan
    assert made.get_parsed_content("spatial_size") == list(wanted.topology.patch_size)
    assert made.get_parsed_content("epoch_images") == 250 * wanted.batch_size
    assert made.get_parsed_content("batch_dice") is wanted.batch_dice
    assert made.get_parsed_content("augmentation").rotation == (30.0, 30.0, 30.0)
    assert len(made.get_parsed_content("canvas")) == 3
