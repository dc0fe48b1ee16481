"""Raw scans without ITK: where voxels lie, brain masks given or by a tool, what is refused, and the way back."""

import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from helpers.scans import AFFINES, affine
from PIL import Image

from benchmark.base.records import Case, InputError
from benchmark.data import raw
from benchmark.data.raw import brain, registration
from benchmark.data.raw.geometry import Grid, Volume, bring, check_grid, upright
from benchmark.data.raw.preview import OUTLINE, draw, write_page
from benchmark.data.raw.record import Found, Input, Steps, find_record, undo
from benchmark.data.resample import resample
from benchmark.data.volumes import sha256_file

TURN = affine([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]], (3, -2, 1))
ENDS = ("t1", "t1ce", "t2", "flair")


def place(grid):
    """A slope along x + 2y + 3z of the world, at each voxel."""
    points = nibabel.affines.apply_affine(grid.affine, np.moveaxis(np.indices(grid.shape), 0, -1))
    return points @ [1.0, 2.0, 3.0]


@pytest.mark.parametrize("matrix", AFFINES.values(), ids=AFFINES)
def test_the_upright_grid_covers_the_same_box_in_nearest_ras(matrix):
    grid = Grid((10, 20, 12), matrix)
    found = upright(grid, 1.0)
    np.testing.assert_allclose(found.spacing, 1)
    assert "".join(nibabel.aff2axcodes(found.affine)) == "RAS"
    centre, expected = (
        nibabel.affines.apply_affine(one.affine, (np.array(one.shape) - 1) / 2) for one in (found, grid)
    )
    np.testing.assert_allclose(centre, expected, atol=0.5)
    assert upright(found, 1.0).shape == found.shape
    np.testing.assert_allclose(upright(found, 1.005).affine, found.affine)


@pytest.mark.parametrize("matrix", AFFINES.values(), ids=AFFINES)
@pytest.mark.parametrize("order", [1, 3])
def test_a_slope_keeps_its_place_under_a_rigid_transform(matrix, order):
    scan = Grid((30, 30, 30), matrix)
    middle = nibabel.affines.apply_affine(np.linalg.inv(TURN) @ matrix, [15, 15, 15])
    for size in ([0.5, 1, 1], [1, 1, 6]):
        target = Grid((8, 8, 4), affine(np.diag(size), middle - np.array(size) * [4, 4, 2]))
        found, inside = bring(Volume(place(scan), matrix), target, TURN, order)
        expected = place(Grid(target.shape, TURN @ target.affine))
        # Mirrored edges bend a slope within a few voxels of them.
        voxels = nibabel.affines.apply_affine(np.linalg.inv(matrix) @ TURN @ target.affine, np.argwhere(inside))
        inner = np.zeros(target.shape, bool)
        inner[tuple(np.argwhere(inside)[((voxels > 6) & (voxels < 23)).all(axis=1)].T)] = True
        assert inner.any()
        np.testing.assert_allclose(found[inner], expected[inner], atol=0.15 if order == 3 else 1e-3)


def test_outside_a_scan_there_is_nothing():
    scan = Volume(np.full((4, 4, 4), 7.0), np.eye(4))
    found, inside = bring(scan, Grid((6, 4, 4), affine(np.eye(3), (-1, 0, 0))), np.eye(4))
    np.testing.assert_array_equal(inside[:, 0, 0], [False, True, True, True, True, False])
    np.testing.assert_allclose(found[:, 0, 0], [0, 7, 7, 7, 7, 0], rtol=1e-6)


def test_larger_voxels_are_means():
    values = np.random.default_rng(0).normal(size=(8, 8, 8))
    grid = Grid((4, 4, 4), affine(np.diag([2.0, 2, 2]), (0.5, 0.5, 0.5)))
    found, _ = bring(Volume(values, np.eye(4)), grid, np.eye(4), order=1)
    np.testing.assert_allclose(found, values.reshape(4, 2, 4, 2, 4, 2).mean(axis=(1, 3, 5)), atol=1e-6)


def test_voxels_that_are_a_little_larger_are_means_too():
    """Stripes of one voxel are grey on voxels of 1.4, not stripes of several."""
    values = np.broadcast_to((np.arange(70) % 2)[:, None, None], (70, 4, 4)).astype(float)
    grid = Grid((50, 4, 4), affine(np.diag([1.4, 1, 1]), (0.2, 0, 0)))
    found, _ = bring(Volume(values, np.eye(4)), grid, np.eye(4))
    assert found[5:-5].std() < 0.2
    expected = resample(values, (1.4, 1, 1), grid.shape)
    np.testing.assert_allclose(found[5:-5], expected[5:-5], atol=0.15)
    same, _ = bring(Volume(values, np.eye(4)), Grid((70, 4, 4), np.diag([1.009, 1, 1, 1])), np.eye(4), order=1)
    assert same[:5].std() > 0.4


def test_sheared_and_thin_scans_are_refused():
    check_grid(Path("a.nii"), Grid((9, 9, 9), AFFINES["oblique, permuted"]))
    with pytest.raises(InputError, match=r"a\.nii: expected a header with axes at right angles.*found two at 84\.3"):
        check_grid(Path("a.nii"), Grid((9, 9, 9), affine([[1, 0.1, 0], [0, 1, 0], [0, 0, 1.0]])))
    with pytest.raises(InputError, match="expected a scan of at least 8 voxels along each axis, found 9 x 9 x 3"):
        check_grid(Path("a.nii"), Grid((9, 9, 3), np.eye(4)))


def test_implausible_registrations_are_refused():
    def found(matrix, fall=0.5, information=0.4):
        return registration.Registration(matrix, information, fall, "headers")

    middle, same = np.zeros(3), np.eye(4)
    registration._check(found(same), middle, middle)
    for one, other, sentence in [
        (found(AFFINES["PSR"]), middle, "expected a rotation of at most 45 degrees"),
        (found(same), np.array([0, 81.0, 0]), "the middles within 80 mm, found 0 degrees and 81 mm"),
        (found(same, 0.01), middle, r"fall by 15% where the scan is shifted by 10 mm, found 1\.0% of 0\.400"),
        (found(same, np.nan), middle, "expected mutual information to fall"),
    ]:
        with pytest.raises(InputError, match=sentence):
            registration._check(one, middle, other)


class Searched:
    """A search with given values of the metric: at each start, and at the place where it ends."""

    def __init__(self, starts, end):
        self.starts, self.end, self.matrix = starts, end, affine(np.eye(3), (7, 0, 0))

    def value(self, matrix):
        return self.end if np.array_equal(matrix, self.matrix) else self.starts

    def run(self, *_):
        return self.matrix


@pytest.mark.parametrize(
    ("starts", "end", "sentence"),
    [
        (np.inf, 0, "found less wherever a search could start, 54 places by its header and by its middle"),
        (-0.5, np.inf, "at least 50% of the brain and what is around it, found less where the search ended"),
        (-0.5, 0.0, "expected mutual information above 0, found 0: where the search ended, it shows nothing"),
        (-0.5, np.nan, "expected mutual information above 0, found nan"),
    ],
)
def test_a_registration_that_found_nothing_says_what_was_wrong(starts, end, sentence):
    scan = Volume(np.arange(1000.0).reshape(10, 10, 10), np.eye(4))
    with pytest.raises(InputError, match=sentence):
        registration._register(Searched(starts, end), scan, scan, scan.voxels > 300)


def tool(body):
    """A command that runs Python on the paths of its input and output."""
    code = f"import sys, nibabel, numpy as np; scan = nibabel.load(sys.argv[1]); {body}"
    return f"{sys.executable} -c '{code}' {{input}} {{output}}"


SAVE = "nibabel.save(nibabel.Nifti1Image({0}, {1}), sys.argv[2])"


def test_a_tool_finds_the_brain():
    voxels = np.zeros((9, 8, 10))
    voxels[2:5, 3:6, 4:8] = 5
    scan = Volume(voxels, AFFINES["oblique"])
    command = tool(SAVE.format("np.uint8(scan.get_fdata() > 0)", "scan.affine"))
    assert brain.is_command(command) and not brain.is_command("brain_mask")
    np.testing.assert_array_equal(brain.run_tool(command, scan), voxels > 0)


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("no-such-tool {input} {output}", "expected a tool that starts, found no-such-tool: no such program"),
        (tool('sys.exit("no licence")'), "to end well, found exit code 1: no licence"),
        (tool("pass"), "expected .*python.* to write a mask to {output}, found that it wrote none"),
        (tool(SAVE.format("np.uint8(scan.get_fdata()[1:] > 0)", "scan.affine")), "what .* wrote: expected .* grid"),
        (tool(SAVE.format("np.uint8(scan.get_fdata() > 0)", "np.eye(4)")), "found 9 x 8 x 10 voxels of 1 x 1 x 1 mm"),
        (tool(SAVE.format("scan.get_fdata() + 1.5", "scan.affine")), r"of 0 and one other value, found 1\.5, 6\.5"),
        (tool(SAVE.format("np.ones(scan.shape, np.uint8)", "scan.affine")), "one other value, found 1"),
    ],
)  # fmt: skip
def test_what_a_tool_does_wrong_is_one_sentence(command, sentence):
    voxels = np.zeros((9, 8, 10))
    voxels[2:5, 3:6, 4:8] = 5
    with pytest.raises(InputError, match=sentence):
        brain.run_tool(command, Volume(voxels, AFFINES["oblique"]))


@pytest.mark.parametrize("mask", ["", "tool {input}", "tool -o {output}", "some tool"])
def test_a_mask_is_a_name_or_a_whole_command(mask):
    with pytest.raises(InputError, match=r"expected the name of mask files, such as mask .*or a command"):
        brain.is_command(mask)


def steps_of(transform, raw_grid, prepared, files=None):
    known = Input(file="a", sha256="0", shape=list(raw_grid.shape), affine=raw_grid.affine.tolist())
    return Steps(
        case_id="A", reference="T1c", versions={}, settings={}, inputs={"T1c": known}, bias={}, registrations={},
        transforms={"T1c": transform.tolist()}, brain_ml=1.0, shape=list(prepared.shape),
        affine=prepared.affine.tolist(), files=files or {},
    )  # fmt: skip


@pytest.mark.parametrize("size", [(0.7, 0.8, 0.9), (1.0, 1.0, 4.0)])
def test_probabilities_come_back_within_a_voxel(size):
    """A ball, drawn where the prepared scan has it, lies where the raw scan has it."""
    prepared = Grid((50, 50, 50), affine(np.eye(3), (-25, -25, -25)))
    linear = AFFINES["oblique, permuted"][:3, :3]
    linear = linear / np.linalg.norm(linear, axis=0) * size
    shape = tuple(int(50 / width) for width in size)
    own = Grid(shape, nibabel.affines.from_matvec(linear, TURN[:3, 3] - linear @ ((np.array(shape) - 1) / 2)))

    def ball(grid, middle):
        points = nibabel.affines.apply_affine(grid.affine, np.moveaxis(np.indices(grid.shape), 0, -1))
        return np.linalg.norm(points - middle, axis=-1)

    codes = np.where(ball(prepared, [3, 4, -2]) < 12, 255, 0).astype(np.uint8)[..., None]
    returned = undo(codes, steps_of(TURN, own, prepared))[..., 0] >= 128
    away = ball(own, nibabel.affines.apply_affine(TURN, [3, 4, -2]))
    assert returned[away < 12 - max(size)].all() and not returned[away > 12 + max(size)].any()
    assert returned.shape == shape


def write_scans(folder, shape=(9, 9, 9), matrix=None, ends=ENDS, case="A"):
    (folder / case).mkdir(parents=True)
    rng = np.random.default_rng(1)
    for end in ends:
        image = nibabel.Nifti1Image(rng.random(shape, np.float32), np.eye(4) if matrix is None else matrix)
        nibabel.save(image, folder / f"{case}/{case}_{end}.nii.gz")
    mask = np.zeros(shape, np.uint8)
    mask[3:6, 3:6, 3:6] = 1
    nibabel.save(
        nibabel.Nifti1Image(mask, np.eye(4) if matrix is None else matrix), folder / f"{case}/{case}_mask.nii.gz"
    )
    return folder


def test_a_refused_case_is_named_and_leaves_nothing(tmp_path, command):
    folder = write_scans(tmp_path / "raw", matrix=affine([[1, 0.1, 0], [0, 1, 0], [0, 0, 1.0]]))
    code, out, err = command("data", "prepare", "--raw", folder, tmp_path / "out", "--mask", "mask")
    assert code == 2
    assert "0 cases prepared" in out
    assert "A is refused: " in err and "A_t1.nii.gz: expected a header with axes at right angles" in err
    assert err.splitlines()[-1] == f"Error: {folder}: expected to prepare 1 case, refused 1: A."
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "expected --mask NAME or --mask COMMAND too"),
        (("--mask", "bet"), "case A lacks bet: expected a file of each one that is needed, bet as _bet or -bet"),
        (("--mask", "mask", "--manifest", "lgg"), "lgg: expected T1c, to which others are registered"),
        (
            ("--mask", "synthstrp {input} {output}"),
            "--mask: expected a tool that starts, found synthstrp: no such prog",
        ),
        (
            ("--mask", "sh 'x {input} {output}"),
            '--mask: expected a command, found "sh \'x {input} {output}": No closing',
        ),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(tmp_path, monkeypatch, command, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    folder = write_scans(tmp_path / "raw")
    code, out, err = command("data", "prepare", "--raw", folder, tmp_path / "out", *arguments)
    assert code == 2 and sentence in err and not out and "A is refused" not in err
    code, _, err = command("data", "prepare", "phantom", "--mask", "mask")
    assert code == 2 and "expected --raw FOLDER" in err


def test_a_record_is_of_the_scans_beside_it(tmp_path):
    folder = write_scans(tmp_path)
    names = [f"A_{end}.nii.gz" for end in ENDS]
    digests = {f"A/{name}": sha256_file(folder / "A" / name) for name in names}
    case = Case("A", "A", dict(zip(("T1", "T1c", "T2", "FLAIR"), digests, strict=True)), sha256=digests)
    assert find_record(folder, case) is None
    grid = Grid((9, 9, 9), np.eye(4))
    steps = steps_of(np.eye(4), grid, grid, {Path(path).name: digest for path, digest in digests.items()})
    (folder / "A/A_raw.json").write_text(json.dumps(steps.model_dump()))
    assert find_record(folder, case) == steps
    changed = {**steps.model_dump(), "files": {**steps.files, "A_t2.nii.gz": "0"}}
    (folder / "A/A_raw.json").write_text(json.dumps(changed))
    with pytest.raises(InputError, match=r"A_raw\.json: expected the record of the scans .* found A_t2\.nii\.gz"):
        find_record(folder, case)


@pytest.mark.parametrize("out", [".", "prepared", "A/deep"])
def test_prepared_scans_are_not_written_among_the_raw_ones(tmp_path, command, out):
    folder = write_scans(tmp_path / "raw")
    before = sorted(folder.rglob("*"))
    code, _, err = command("data", "prepare", "--raw", folder, folder / out, "--mask", "mask")
    assert code == 2 and f"{folder / out}: expected a folder for prepared scans outside {folder}" in err
    assert sorted(folder.rglob("*")) == before


def test_the_page_of_previews_keeps_earlier_cases(tmp_path, monkeypatch):
    """A second hospital folder adds its cases; a record that cannot be read is named before any work."""
    grid, made = Grid((9, 9, 9), np.eye(4)), []

    def write(job, *_):
        made.append(job.case.case_id)
        job.target.mkdir(parents=True)
        steps = steps_of(np.eye(4), grid, grid).model_copy(update={"case_id": job.case.case_id})
        (job.target / f"{job.case.case_id}_raw.json").write_text(json.dumps(steps.model_dump()))

    monkeypatch.setattr(raw, "_write", write)
    out = tmp_path / "out"
    for name in ("B", "A"):
        folder = write_scans(tmp_path / name, case=name)
        assert raw.prepare(folder, out, raw.Wanted("mask"))[0] == [name]
    page = (out / "previews.html").read_text()
    assert 0 < page.index("<h2>A</h2>") < page.index("<h2>B</h2>")
    (out / "B/B_raw.json").write_text("{")
    with pytest.raises(InputError, match=r"B_raw\.json is not JSON: expected a record"):
        raw.prepare(write_scans(tmp_path / "C", case="C"), out, raw.Wanted("mask"))
    assert made == ["B", "A"]


def test_another_folder_is_never_overwritten(tmp_path):
    folder = write_scans(tmp_path / "raw")
    (tmp_path / "out/A").mkdir(parents=True)
    (tmp_path / "out/A/notes.txt").write_text("mine")
    prepared, refused = raw.prepare(folder, tmp_path / "out", raw.Wanted("mask"))
    assert prepared == [] and "expected no such folder, or one made of the same files" in refused["A"]
    assert (tmp_path / "out/A/notes.txt").read_text() == "mine"


def test_a_preview_has_each_sequence_before_and_after_with_the_brains_outline(tmp_path):
    shape = (20, 24, 16)
    mask = np.zeros(shape, bool)
    mask[5:15, 6:18, 4:12] = True
    image = mask * 100.0
    (tmp_path / "A b").mkdir()
    path = tmp_path / "A b" / "A b_raw.png"
    draw(path, {"T1c": image, "T2": np.roll(image, 5, axis=0)}, {"T1c": image, "T2": image}, mask)
    pixels = np.asarray(Image.open(path))
    # Per sequence a line of text and the tallest slice; six slices side by side.
    assert pixels.shape == (2 * (16 + 24), 2 * (24 + 20 + 20) + 6 * 4, 3)
    outline = (pixels == OUTLINE).all(axis=2).sum()
    rings = sum(2 * (a + b) - 4 for a, b in ((12, 8), (10, 8), (10, 12)))
    assert outline == 4 * rings
    grid = Grid(shape, np.eye(4))
    one = Found(matrix=np.eye(4).tolist(), information=0.5, fall=0.4, start="headers", degrees=3.21, mm=7.5)
    steps = steps_of(np.eye(4), grid, grid).model_copy(update={"case_id": "A b", "registrations": {"T2": one}})
    write_page(tmp_path, [steps])
    page = (tmp_path / "previews.html").read_text()
    assert 'src="A%20b/A%20b_raw.png"' in page and "<td>3.2</td><td>7.5</td><td>0.500</td><td>40%</td>" in page
