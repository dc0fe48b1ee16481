"""A canvas that does not fit a set is named before hours are spent on it, with one that does."""

from helpers.project import write_study

from benchmark.data.manifest import load_cases
from benchmark.data.prepare import stored_case
from benchmark.studies import canvas, study

SIZE = {"largest": (120, 120), "needed": ((70, 90), (72, 81), (40, 40)), "prepared": True}


def test_one_of_four_times_the_slices_is_named_with_one_that_holds_every_brain():
    sizes = canvas.Sizes(**SIZE)
    (said,) = canvas._misfit((240, 240), [], sizes)
    assert said.startswith("the canvas of 240 x 240 has 4.0 times the area of this set's largest slice, 120 x 120: ")
    assert "--set 'spatial_size=[80,96]', or better" in said
    # An option for all would be for those in 3D too.
    assert canvas._misfit((240, 240), None, sizes)[0].endswith(
        "What fits: spatial_size=[80,96] in the study's `set`, or that of each of its models in 2D."
    )
    assert canvas._misfit((160, 160), [], sizes) == canvas._misfit((80, 96), [], sizes) == []


def test_one_that_cuts_brains_is_named_and_what_is_not_prepared_is_not_guessed_at():
    sizes = canvas.Sizes(**SIZE)
    (said,) = canvas._misfit((72, 80), ["unet", "nnunet"], sizes)
    assert said.startswith("2 brains of 3 larger than the canvas of 72 x 80, up to 72 x 90: ")
    assert "--set 'unet:spatial_size=[80,96]' 'nnunet:spatial_size=[80,96]', or better" in said
    assert canvas._misfit((72, 80), [], sizes._replace(prepared=False)) == []


def test_sizes_are_those_of_the_prepared_set_and_before_that_of_its_longest_edge(project):
    listed = load_cases("phantom")
    boxes = [stored_case(case, listed).header["box"] for case in listed.cases]
    largest = tuple(max(stop[axis] - start[axis] for start, stop in boxes) for axis in (0, 1))
    sizes = canvas._sizes(listed)
    assert sizes.prepared and canvas._most(sizes.needed) == largest and sizes.largest == listed.cases[0].shape[:2]
    runs = study.load("tiny").runs()
    assert canvas.misfits(runs, "phantom") == [] == canvas.misfits(runs, "brats2021")
    (said,) = canvas.misfits(study.load("tiny").runs({"unet:spatial_size": [64, 64]}), "phantom")
    assert "64 x 64 has 4." in said or "64 x 64 has 5." in said
    (project / "runs/prepared").rename(project / "elsewhere")
    sizes = canvas._sizes(listed)
    assert not sizes.prepared and sizes.largest == (max(listed.cases[0].shape),) * 2
    assert len(canvas.misfits(study.load("tiny").runs({"spatial_size": [240, 240]}), "phantom")) == 1


def test_patches_and_computed_canvases_are_left_alone(project):
    native = {"bundle": "nnunet", "track": "native", "set": {"spatial_size": [64, 64]}}
    computed = {"bundle": "unet", "set": {"spatial_size": ["$32 * 2", "$32 * 2"]}}
    write_study("patches", models=[native, computed])
    assert canvas.misfits(study.load("patches").runs(), "phantom") == []
