"""2D and 3D of one bundle: what is chosen for each in a run's configs, and that 2D runs keep their identities."""

import hashlib
import json

import pytest

from benchmark.base.records import InputError
from benchmark.studies import bundle, store
from benchmark.studies.study import Model, Study

DEEP = {"spatial_dims": 3, "spatial_size": [32, 32, 32]}
FLAT = {
    "train#dataset": "benchmark.data.slices.SliceDataset", "train#dataloader": "benchmark.data.slices.loader",
    "sampler": "benchmark.data.slices.EpochSampler", "augmentation": "benchmark.training.augment.Augmentation",
    "inferer": "monai.inferers.SliceInferer",
}  # fmt: skip


def frozen(name="unet", track="identical", **changes):
    model = Model(bundle=name, track=track, variant="x", set=changes)
    made = Study(
        name="x", title="t", data="phantom", folds=[0], seeds=[1], models=[model], compare={"metrics": ["dice"]}
    )
    return bundle.frozen(made.runs()[0], "phantom")


def targets(config):
    places = {key: key.split("#") for key in FLAT}
    return {key: (config[a][b[0]] if b else config[a])["_target_"] for key, (a, *b) in places.items()}


BEFORE_3D = {
    "attention_unet": "eac3cce20cbeac68", "highresnet": "0b704f2b21eee705", "la_resunet": "51707e793beb1378",
    "nnunet": "5e7f241ca2223be2", "resnet50_classifier": "4e6414c41751bb31", "resunet": "4a5a7b5c9c85beba",
    "resunet_focal_tversky": "17e75335cc997f71", "resunet_plus": "acbf79db2605026f",
    "resunet_tversky": "2106c9cf51f295a5",
    "seresunet": "574ba48fe1936704", "swin_unetr": "916347cf1f568819", "unet": "3fce8753b625d64f",
    "unet_dice_focal": "9cb8b26a52842fe9", "unetpp": "c7e120c1ec9e8722",
}  # fmt: skip
"""Hashes of what decided runs of each bundle before any of it had 3D, from which the identities of these follow."""


@pytest.mark.parametrize("name", BEFORE_3D)
def test_what_decides_a_2d_run_is_what_it_was_before_there_was_3d(name):
    """Where this fails, runs of the bundle that were made before are other runs: change a hash only if that is meant.

    The hashes were made from the configs of the last commit without 3D.
    """
    composed = bundle.compose(name)
    flat = {kind: bundle.chosen(composed[kind], 2) for kind in (*bundle.CONFIGS, "native") if kind in composed}
    kept = {
        kind: {key: value for key, value in bundle.deciding(config).items() if key not in bundle.MACHINE_IDS}
        for kind, config in flat.items()
    }
    assert hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16] == BEFORE_3D[name]


def test_a_2d_run_has_the_parts_of_2d(project):
    configs = frozen()
    assert targets(configs["train"]) == FLAT and configs["train"]["batch_size"] == 8
    assert "spatial_dims == 3" not in json.dumps(configs)


def test_a_3d_run_has_no_trace_of_2d(project):
    configs = frozen(**DEEP)
    assert targets(configs["train"]) == {
        "train#dataset": "benchmark.data.patches.PatchDataset",
        "train#dataloader": "benchmark.data.patches.loader",
        "sampler": "benchmark.data.patches.TumourSampler",
        "augmentation": "benchmark.training.augment_volumes.VolumeAugmentation",
        "inferer": "benchmark.training.windows.VolumeInferer",
    }
    assert configs["inference"]["inferer"]["_target_"] == "benchmark.training.windows.VolumeInferer"
    assert configs["train"]["batch_size"] == 2 and "spatial_dims == 3" not in json.dumps(configs)
    assert configs["train"]["network_def"]["_target_"] == "benchmark.networks.block_max.BlockMaxUNet"
    tensors = [tensor for side in configs["metadata"]["network_data_format"].values() for tensor in side.values()]
    assert [one["spatial_shape"] for one in tensors] == [["16*n"] * 3] * 2
    assert all(one["is_patch_data"] for one in tensors)


def test_nnunets_own_recipe_is_of_its_dimensions_and_its_presets_are_of_3d_only(project):
    flat, deep = (frozen("nnunet", "native", **changes)["train"] for changes in ({}, {"spatial_dims": 3}))
    assert "preset" not in flat and "batch_dice" not in flat and flat["batch_size"] == "$@planner.plan.batch_size"
    assert deep["preset"] == "" and deep["batch_size"] == "$@planner.of(@preset).batch_size"
    assert deep["loss"]["loss"]["losses"][0]["batch"] == "@batch_dice" and deep["inferer"]["axes"] == [-3, -2, -1]
    assert flat["inferer"]["axes"] == [-2, -1] and flat["loss"]["loss"]["losses"][0]["batch"] is True
    assert frozen("nnunet", "native", spatial_dims=3, preset="M")["train"]["preset"] == "M"
    with pytest.raises(InputError, match="id 'preset' is not of spatial_dims 2"):
        frozen("nnunet", "native", preset="M")


def test_a_bundle_that_has_no_3d_says_so_in_one_sentence(project):
    with pytest.raises(InputError, match=r"^Run .*: resnet50_classifier works in 2D only: expected spatial_dims 2\.$"):
        frozen("resnet50_classifier", **DEEP)


def test_a_size_of_two_numbers_is_refused_in_3d(project):
    with pytest.raises(InputError, match="expected 3 numbers, one per dimension"):
        frozen(spatial_dims=3)


def test_twins_in_two_and_three_dimensions_have_identities_of_their_own(project):
    made = Study(
        name="x", title="t", data="phantom", folds=[0], seeds=[1], compare={"metrics": ["dice"]},
        models=[Model(bundle="unet"), Model(bundle="unet", variant="3d", set=DEEP)],
    )  # fmt: skip
    (_, flat), (_, deep) = store.identities(made.runs(), "phantom")
    assert store.fingerprint(flat) != store.fingerprint(deep)
    assert "SliceDataset" in flat["code"] and "PatchDataset" not in flat["code"]
    assert "PatchDataset" in deep["code"] and "SliceDataset" not in deep["code"]


def test_choices_are_made_of_values_references_and_expressions():
    content = {
        "a": "$3 if @spatial_dims == 3 else [1, 'x']", "b": ["$@one if @spatial_dims == 3 else @two + 1"],
        "c": {"d": "$'new' if @spatial_dims == 3 else None"}, "e": None, "f": "$1 if @x else 2",
    }  # fmt: skip
    assert bundle.chosen(content, 2) == {"a": [1, "x"], "b": ["$@two + 1"], "c": {}, "e": None, "f": "$1 if @x else 2"}
    assert bundle.chosen(content, 3) == {"a": 3, "b": ["@one"], "c": {"d": "new"}, "e": None, "f": "$1 if @x else 2"}
    assert bundle.chosen(content, "$1 + 1") == content


@pytest.mark.parametrize(
    "text",
    [
        "$max(@a if @spatial_dims == 3 else @b, 2)",
        "$(@a if @spatial_dims == 3 else @b)",
        "$1 if @x else 2 if @spatial_dims == 3 else 3",
        "$'1 if @spatial_dims == 3 else 2'",
        "$[1 if @spatial_dims == 3 else 2][0]",
        "$lambda: 1 if @spatial_dims == 3 else 2",
        "$1 + 2 if @spatial_dims == 3 else 3, 4",
        "$1 if @spatial_dims == 3 else",
        "1 if @spatial_dims == 3 else 2",
    ],
)
def test_a_choice_within_something_larger_is_left_to_monai(text):
    assert bundle.chosen({"a": text}, 2) == bundle.chosen({"a": text}, 3) == {"a": text}


@pytest.mark.parametrize(
    ("text", "deep", "flat"),
    [
        ("$(4 if @x else 1) if @spatial_dims == 3 else 64 if @x else 8", "$(4 if @x else 1)", "$64 if @x else 8"),
        ("$@a#0 if @spatial_dims == 3 else @b::c * 2", "@a#0", "$@b::c * 2"),
        ("$'a if b' if @spatial_dims == 3 else 'c else d'", "a if b", "c else d"),
    ],
)
def test_a_choice_is_cut_where_python_cuts_it(text, deep, flat):
    assert (bundle.chosen(text, 3), bundle.chosen(text, 2)) == (deep, flat)
