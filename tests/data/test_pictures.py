"""Pictures and outlines to volumes: numeric order, channels, block means, the pixels of a polygon."""

import hashlib
import json
import struct
import subprocess
import zlib

import numpy as np
import pytest
from PIL import Image

from benchmark.base.records import InputError
from benchmark.data import outlines
from benchmark.data.pictures import files_of, is_turned, read_pictures, shrink, size_of
from benchmark.data.volumes import ImagePath, parse_path, read_image, read_images, sha256_of, spacing_of


def save(path, pixels):
    """Save an array of shape (column, row) or (column, row, channel) as a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.swapaxes(np.asarray(pixels, np.uint8), 0, 1)).save(path)
    return path


def stack(folder, count=12, ending=".tif", size=(4, 6)):
    """Save pictures a_1 … whose channel c is 20 * c + number everywhere, and masks of another size."""
    for number in range(1, count + 1):
        save(folder / f"a_{number}{ending}", np.full((*size, 3), np.array([0, 20, 40]) + number))
        save(folder / f"a_{number}_mask{ending}", np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("imagesTr/B.nii.gz[12]", ("imagesTr/B.nii.gz", 12)),
        ("a/b_t1.nii", ("a/b_t1.nii",)),
        ("a/a_*.tif[1]", ("a/a_*.tif", 1)),
        ("a/a_*_mask.tif(2x2 majority)", ("a/a_*_mask.tif", None, None, 2, True)),
        ("a/x[1] (2).jpg(5x5)", ("a/x[1] (2).jpg", None, None, 5)),
        ("train/c.json[7]", ("train/c.json", 7)),
        ("c.json[7:640x480](5x5 majority)", ("c.json", 7, (640, 480), 5, True)),
    ],
)
def test_a_path_says_what_it_names_and_back(path, parts):
    assert parse_path(path) == ImagePath(*parts)
    assert str(ImagePath(*parts)) == path


def test_a_block_is_square():
    assert parse_path("a.jpg(2x3)") == ImagePath("a.jpg(2x3)")


@pytest.mark.parametrize("ending", [".tif", ".png"])
def test_slices_are_in_the_order_of_their_numbers(tmp_path, ending):
    stack(tmp_path, ending=ending)
    image, affine = read_image(tmp_path, f"a_*{ending}[1]")
    assert image.shape == (4, 6, 12) and image.dtype == np.uint8
    assert image[0, 0].tolist() == [20 + number for number in range(1, 13)]
    np.testing.assert_array_equal(affine, np.diag([-1, -1, 1, 1]))
    assert [path.name for path in files_of(tmp_path / f"a_*{ending}")][8:11] == [f"a_{n}{ending}" for n in (9, 10, 11)]


def test_a_stack_may_begin_at_any_number(tmp_path):
    for number in (3, 4, 5):
        save(tmp_path / f"a_{number:02}.png", np.full((2, 2), number))
    assert read_image(tmp_path, "a_*.png")[0][0, 0].tolist() == [3, 4, 5]


def test_columns_are_x_and_rows_are_y(tmp_path):
    pixels = np.zeros((5, 3), np.uint8)
    pixels[4, 1] = 9
    save(tmp_path / "a.png", pixels)
    assert Image.open(tmp_path / "a.png").size == (5, 3)
    image, affine = read_image(tmp_path, "a.png")
    assert image.shape == (5, 3, 1) and image[4, 1, 0] == 9
    # Right in the picture is to the patient's left, down in it is to the back.
    assert (affine @ [4, 1, 0, 1])[:2].tolist() == [-4, -1]


def test_grey_stored_in_colour_keeps_its_values_and_colour_becomes_luminance(tmp_path):
    grey = np.arange(256).reshape(16, 16)
    save(tmp_path / "grey.png", np.stack([grey] * 3, axis=-1))
    np.testing.assert_array_equal(read_image(tmp_path, "grey.png")[0][..., 0], grey)
    save(tmp_path / "green.png", np.full((2, 2, 3), [0, 100, 0]))
    assert np.unique(read_image(tmp_path, "green.png")[0]).tolist() == [59]


def test_blocks_become_their_mean_or_most_frequent_value(tmp_path):
    pixels = np.zeros((4, 4), np.uint8)
    pixels[:2, :2] = [[1, 2], [3, 5]]
    pixels[2:, :2] = [[255, 255], [255, 0]]
    pixels[:2, 2:] = [[255, 0], [0, 255]]
    save(tmp_path / "a.png", pixels)
    image, affine = read_image(tmp_path, "a.png(2x2)")
    assert image.dtype == np.float32
    assert image[..., 0].tolist() == [[2.75, 127.5], [191.25, 0]]
    # The first block's centre lies between its pixels.
    assert affine.tolist() == [[-2, 0, 0, -0.5], [0, -2, 0, -0.5], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert spacing_of(affine) == (2.0, 2.0, 1.0)
    label, same = read_image(tmp_path, "a.png(2x2 majority)")
    assert label[..., 0].tolist() == [[1, 0], [255, 0]]  # of values that are equally frequent, the lowest
    np.testing.assert_array_equal(affine, same)
    with pytest.raises(InputError, match=r"a\.png: expected a size that 3 divides.*found 4 x 4"):
        read_image(tmp_path, "a.png(3x3)")


def test_slices_are_averaged_apart():
    volume = np.arange(2 * 2 * 3).reshape(2, 2, 3)
    assert shrink(volume, 2, False, None)[0, 0].tolist() == volume.mean(axis=(0, 1)).tolist()


def test_what_a_stack_lacks_is_named(tmp_path):
    stack(tmp_path)
    (tmp_path / "a_7.tif").rename(tmp_path / "b_7.tif")
    with pytest.raises(InputError, match=r"a_7\.tif: expected every picture from number 1 to 12, found none of num"):
        read_pictures(tmp_path / "a_*.tif")
    with pytest.raises(InputError, match=r"c_\*\.tif: expected pictures with a number in place of \*, found none"):
        read_pictures(tmp_path / "c_*.tif")
    with pytest.raises(InputError, match=r"none/a_\*\.tif: expected pictures"):
        read_pictures(tmp_path / "none" / "a_*.tif")
    save(tmp_path / "a_7.tif", np.zeros((4, 5, 3)))
    with pytest.raises(InputError, match=r"a_7\.tif: expected a picture of 4 x 6 pixels.*a_1\.tif, found 4 x 5"):
        read_pictures(tmp_path / "a_*.tif")
    save(tmp_path / "a_7.tif", np.zeros((4, 6)))
    with pytest.raises(InputError, match=r"a_7\.tif: expected a picture of .* 3 of uint8.*, found .* 1 of uint8"):
        read_pictures(tmp_path / "a_*.tif")
    save(tmp_path / "a_07.tif", np.zeros((4, 6, 3)))
    with pytest.raises(InputError, match=r"a_07\.tif: expected one picture of number 7, found also a_7\.tif"):
        read_pictures(tmp_path / "a_*.tif")


def test_other_unusable_pictures(tmp_path):
    path = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (40, 40, 3)))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match=r"a\.png: expected a whole image file, found a broken one"):
        read_pictures(path)
    path.write_bytes(b"text")
    with pytest.raises(InputError, match=r"a\.png: expected a whole image file"):
        read_pictures(path)
    with pytest.raises(InputError, match=r"b\.png: expected an image file, found nothing"):
        read_pictures(tmp_path / "b.png")
    frames = [Image.new("L", (4, 4), value) for value in (1, 2)]
    frames[0].save(tmp_path / "c.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match=r"c\.tif: expected one grey or RGB picture, found 2 of L"):
        read_pictures(tmp_path / "c.tif")
    Image.new("RGBA", (4, 4)).save(tmp_path / "d.png")
    with pytest.raises(InputError, match=r"d\.png: expected one grey or RGB picture, found 1 of RGBA"):
        read_pictures(tmp_path / "d.png")
    save(tmp_path / "e.png", np.zeros((4, 4)))
    with pytest.raises(InputError, match=r"e\.png: expected pictures with at least 3 channels, found 1"):
        read_image(tmp_path, "e.png[2]")


def test_one_file_is_read_once_for_several_images(tmp_path, monkeypatch):
    stack(tmp_path, 3)
    calls = []
    monkeypatch.setattr("benchmark.data.volumes.read_volume", lambda path: calls.append(path) or read_pictures(path))
    images = read_images(tmp_path, ["a_*.tif[2]", "a_*.tif[0]", "a_*.tif[1](2x2)"])
    assert [image[0, 0, 0] for image, _ in images] == [41, 1, 21] and len(calls) == 1


def test_the_hash_of_a_stack_is_of_what_sha256sum_prints(tmp_path):
    stack(tmp_path, 11)
    names = [f"a_{number}.tif" for number in range(1, 12)]
    printed = subprocess.run(["sha256sum", *names], cwd=tmp_path, capture_output=True, check=True).stdout
    before = sha256_of(tmp_path / "a_*.tif")
    assert before == hashlib.sha256(printed).hexdigest()
    save(tmp_path / "a_5.tif", np.zeros((4, 6, 3)))
    assert sha256_of(tmp_path / "a_*.tif") != before


def pixels(*polygons, size=(7, 6)):
    mask = outlines.fill(polygons, *size)
    assert mask.shape == (*size, 1) and mask.dtype == np.uint8
    return [tuple(pixel) for pixel in np.argwhere(mask[..., 0]).tolist()]


def test_a_pixel_is_inside_when_its_centre_is():
    assert pixels([(1, 2), (3, 2), (3, 4), (1, 4)]) == [(1, 2), (1, 3), (2, 2), (2, 3)]
    # Edges through centres: left and upper ones count, right and lower ones do not.
    assert pixels([(1.5, 2.5), (3.5, 2.5), (3.5, 4.5), (1.5, 4.5)]) == [(1, 2), (1, 3), (2, 2), (2, 3)]
    assert pixels([(0, 0), (4, 0), (0, 4)]) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0)]
    assert len(pixels([(0, 0), (7, 0), (7, 6), (0, 6)])) == 42
    assert len(pixels([(-1, -1), (8, -1), (8, 7), (-1, 7)])) == 42  # cut at the border


def test_a_hollow_polygon_has_two_spans_a_row_and_polygons_unite():
    arch = [(0, 0), (5, 0), (5, 4), (3, 4), (3, 2), (2, 2), (2, 4), (0, 4)]
    assert [x for x, y in pixels(arch) if y == 3] == [0, 1, 3, 4]
    square = [(1, 2), (4, 2), (4, 3), (1, 3)]
    assert len(pixels(arch, square)) == 10 + 8 + 1
    assert len(pixels(square, square)) == 3


def test_a_circle_has_its_area():
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    circle = [(50 + 30 * np.cos(a), 50 + 30 * np.sin(a)) for a in angles]
    assert len(pixels(circle, size=(100, 100))) == pytest.approx(np.pi * 30**2, rel=5e-3)


def coco(path, annotations, images=((7, "a.jpg"),)):
    listed = [{"id": number, "file_name": name, "width": 8, "height": 6} for number, name in images]
    marks = [{"id": n, "image_id": image, "segmentation": s} for n, (image, s) in enumerate(annotations)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": listed, "annotations": marks}))
    return path


SQUARE = [1, 1, 3, 1, 3, 3, 1, 3]


def test_the_label_of_an_image_is_the_union_of_its_polygons(tmp_path):
    other = [5, 1, 6, 1, 6, 2, 5, 2]
    coco(tmp_path / "c.json", [(7, [SQUARE, other]), (7, [SQUARE]), (8, [other])], [(7, "a.jpg"), (8, "b"), (9, "c")])
    counts = {index: int(read_image(tmp_path, f"c.json[{index}]")[0].sum()) for index in (7, 8, 9)}
    assert counts == {7: 5, 8: 1, 9: 0}
    label, affine = read_image(tmp_path, "c.json[7]")
    assert label.shape == (8, 6, 1) and label.dtype == np.uint8 and affine.tolist() == np.diag([-1, -1, 1, 1]).tolist()
    assert read_image(tmp_path, "c.json[7](2x2 majority)")[0][..., 0].sum() == 0  # a quarter of four blocks each


def test_outlines_by_number(tmp_path):
    (tmp_path / "o.json").write_text(json.dumps({"16": [[1, 1], [3, 1], [3, 3], [1, 3]]}))
    assert read_image(tmp_path, "o.json[16:8x6]")[0].sum() == 4
    with pytest.raises(InputError, match=r"o\.json: expected an outline of number 17, found none"):
        read_image(tmp_path, "o.json[17:8x6]")
    with pytest.raises(InputError, match=r"outline 16: expected points in the picture of 1 x 1, found \(3, 1\)"):
        read_image(tmp_path, "o.json[16:1x1]")
    (tmp_path / "p.json").write_text('{"16": [1, 2]}')
    with pytest.raises(InputError, match=r"p\.json: 16/0: expected a valid array, found 1"):
        read_image(tmp_path, "p.json[16:8x6]")


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 1, 3, 1, 3]], r"annotation 0: expected a polygon of x and y in turn, found \[1, 1, 3, 1, 3\]"),
        ([[1, 1, 3, "a"]], "expected a polygon of x and y in turn"),
        ([[1, 1, 3, 1, 1, 1]], "expected a polygon of at least 3 points, found 2"),
        ([[1, 1, 3, 1, 3, 9]], r"expected points in the picture of 8 x 6, found \(3, 9\)"),
        ([[1, 1, 3, 1, 3, float("nan")]], "found NaN, which is no finite number"),
        ({"counts": [3, 4], "size": [6, 8]}, "expected a list of polygons, found a run-length encoded mask, which is"),
        ([], "expected a list of polygons, found none"),
    ],
)
def test_segmentations_that_cannot_be_read(tmp_path, segmentation, message):
    with pytest.raises(InputError, match=message):
        outlines.read_coco(coco(tmp_path / "c.json", [(7, segmentation)]))


def test_annotations_that_do_not_fit_together(tmp_path):
    with pytest.raises(InputError, match=r"a\.json: annotation 0: expected the id of a listed image, found 8"):
        outlines.read_coco(coco(tmp_path / "a.json", [(8, [SQUARE])]))
    with pytest.raises(InputError, match=r"b\.json: expected one image named a\.jpg, found 2"):
        outlines.read_coco(coco(tmp_path / "b.json", [], [(7, "a.jpg"), (8, "a.jpg")]))
    with pytest.raises(InputError, match=r"c\.json: expected one image of id 7, found two"):
        outlines.read_coco(coco(tmp_path / "c.json", [], [(7, "a.jpg"), (7, "b.jpg")]))
    (tmp_path / "d.json").write_text('{"images": []}')
    with pytest.raises(InputError, match=r"d\.json: expected an entry 'annotations', found none"):
        outlines.read_coco(tmp_path / "d.json")
    with pytest.raises(InputError, match=r"e\.json: expected a file, found: No such file"):
        outlines.read_coco(tmp_path / "e.json")
    with pytest.raises(InputError, match=r"f\.json: expected an image of id 3, found none"):
        read_image(coco(tmp_path / "f.json", []).parent, "f.json[3]")


def test_a_changed_file_of_outlines_is_read_and_hashed_anew(tmp_path):
    path = coco(tmp_path / "c.json", [(7, [SQUARE])])
    before = sha256_of(path)
    assert read_image(tmp_path, "c.json[7]")[0].sum() == 4
    coco(path, [(7, [[1, 1, 3, 1, 3, 2, 1, 2]])])
    assert read_image(tmp_path, "c.json[7]")[0].sum() == 2
    assert before != sha256_of(path) == hashlib.sha256(path.read_bytes()).hexdigest()


SEEN = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
"""Rows and columns of a picture as it is seen."""

STORED = {
    **{1: SEEN, 2: SEEN[:, ::-1], 3: SEEN[::-1, ::-1], 4: SEEN[::-1]},
    **{5: SEEN.T, 6: SEEN.T[::-1], 7: SEEN[::-1, ::-1].T, 8: SEEN.T[:, ::-1]},
}
"""What a camera stores of it for each value of the EXIF tag."""


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("ending", [".png", ".tif", ".jpg"])
def test_a_picture_is_read_as_it_is_seen(tmp_path, ending, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a{ending}"
    stored = np.kron(STORED[orientation], np.ones((16, 16), np.uint8))  # as large as the blocks of JPEG
    Image.fromarray(stored).save(path, exif=exif, quality=100) if ending == ".jpg" else Image.fromarray(stored).save(
        path, exif=exif
    )
    if ending == ".tif" and orientation > 4:
        with pytest.raises(InputError, match=r"a\.tif: expected an upright TIFF picture"):
            read_pictures(path)
        return
    found = read_pictures(path)[0][:, :, 0].T[8::16, 8::16]
    np.testing.assert_allclose(found, SEEN, atol=2)
    assert size_of(path) == (48, 32) and is_turned(path) == (orientation > 1)


def test_a_stack_has_endings_in_any_letters(tmp_path):
    for number in range(1, 4):
        save(tmp_path / f"a_{number}.tif", np.full((4, 6), number))
    (tmp_path / "a_2.tif").rename(tmp_path / "a_2.TIF")
    assert [file.name for file in files_of(tmp_path / "a_*.tif")] == ["a_1.tif", "a_2.TIF", "a_3.tif"]


def test_a_picture_that_claims_more_than_it_can_hold_is_refused(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 2, 0, 0, 0)  # 432 MB
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )
    with pytest.raises(InputError, match=r"a\.png: .*bytes for 12000 x 12000 pixels"):
        read_pictures(tmp_path / "a.png")


@pytest.mark.parametrize("index", ["[7]", "[7:200000x200000]"])
def test_no_canvas_is_made_of_any_size_that_a_file_claims(tmp_path, index):
    content = {"images": [{"id": 7, "file_name": "a.jpg", "width": 200_000, "height": 200_000}], "annotations": []}
    (tmp_path / "a.json").write_text(json.dumps(content if index == "[7]" else {"7": [[0, 0], [1, 0], [1, 1]]}))
    with pytest.raises(InputError, match=r"a\.json: expected .* at most 1e\+08 pixels, found 200000 x 200000"):
        read_image(tmp_path, f"a.json{index}")
