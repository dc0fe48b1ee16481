import gzip
import hashlib
import resource

import itk
import nibabel
import numpy as np
import pytest

from benchmark.base.records import InputError
from benchmark.data.volumes import read_image, read_volume, sha256_file, spacing_of, write_label_map

OBLIQUE = np.array([[-1.9, 0.3, 0.0, 12.0], [0.3, 2.1, 0.4, -30.0], [0.1, -0.4, 2.5, 7.5], [0, 0, 0, 1.0]])


def voxels(shape=(4, 5, 6), dtype=np.int16):
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


def save(path, data, affine=OBLIQUE):
    nibabel.save(nibabel.Nifti1Image(data, affine), path)
    return path


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_nifti_keeps_integers_and_affine(tmp_path, ending):
    found, affine = read_volume(save(tmp_path / f"a{ending}", voxels()))
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, voxels())
    np.testing.assert_allclose(affine, OBLIQUE, atol=1e-6)
    np.testing.assert_allclose(spacing_of(affine), nibabel.affines.voxel_sizes(OBLIQUE), atol=1e-5)


def test_nifti_scaling_big_endian_and_nifti2(tmp_path):
    image = nibabel.Nifti1Image(voxels(), OBLIQUE)
    image.header.set_slope_inter(2, 10)
    nibabel.save(image, tmp_path / "scaled.nii")
    # nibabel rescales on saving; the values asked for are those of a plain nibabel read.
    expected = nibabel.load(tmp_path / "scaled.nii").get_fdata()
    np.testing.assert_allclose(read_volume(tmp_path / "scaled.nii")[0], expected)

    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels(), OBLIQUE, header), tmp_path / "big.nii.gz")
    found = read_volume(tmp_path / "big.nii.gz")[0]
    assert found.dtype == np.dtype("=i2")
    np.testing.assert_array_equal(found, voxels())

    nibabel.save(nibabel.Nifti2Image(voxels(), OBLIQUE), tmp_path / "two.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "two.nii.gz")[0], voxels())


def test_units_are_turned_into_mm(tmp_path):
    image = nibabel.Nifti1Image(voxels(), np.diag([0.001, 0.002, 0.003, 1]))
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "m.nii")
    assert spacing_of(read_volume(tmp_path / "m.nii")[1]) == (1.0, 2.0, 3.0)


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_itk_formats_agree_with_nibabel(tmp_path, ending):
    image = itk.image_from_array(voxels().transpose().copy())
    image.SetSpacing([1.5, 2.0, 2.5])
    image.SetOrigin([10.0, -20.0, 30.0])
    turn = np.deg2rad(20)
    image.SetDirection(
        itk.matrix_from_array(
            np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0.0, 0.0, 1.0]])
        )
    )
    itk.imwrite(image, str(tmp_path / f"a{ending}"))
    itk.imwrite(image, str(tmp_path / "a.nii.gz"))
    expected = nibabel.load(tmp_path / "a.nii.gz")
    found, affine = read_volume(tmp_path / f"a{ending}")
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, np.asarray(expected.dataobj))
    np.testing.assert_allclose(affine, expected.affine, atol=1e-4)

    whole = (tmp_path / f"a{ending}").read_bytes()
    (tmp_path / f"cut{ending}").write_bytes(whole[: len(whole) - 100])
    with pytest.raises(InputError, match=rf"cut{ending}: expected a whole image file"):
        read_volume(tmp_path / f"cut{ending}")


def test_one_volume_of_a_4d_file(tmp_path):
    data = voxels((3, 4, 5, 2), np.float32)
    save(tmp_path / "a.nii.gz", data)
    found, affine = read_image(tmp_path, "a.nii.gz[1]")
    np.testing.assert_array_equal(found, data[..., 1])
    np.testing.assert_allclose(affine, OBLIQUE, atol=1e-6)
    with pytest.raises(InputError, match=r"a.nii.gz: expected a 4-D image with at least 3 volumes, found shape"):
        read_image(tmp_path, "a.nii.gz[2]")
    with pytest.raises(InputError, match=r"a.nii.gz: expected a 3-D image, found shape \(3, 4, 5, 2\)"):
        read_image(tmp_path, "a.nii.gz")
    save(tmp_path / "b.nii", data[..., :1])
    assert read_image(tmp_path, "b.nii")[0].shape == (3, 4, 5)


def cut(path):
    path.write_bytes(path.read_bytes()[:-30])


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    "spoil", [cut, flip_a_byte, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"text" * 200)]
)
def test_broken_gz_names_the_file(tmp_path, spoil):
    path = save(tmp_path / "scan.nii.gz", np.random.default_rng(0).integers(0, 999, (8, 8, 8)).astype(np.int16))
    spoil(path)
    with pytest.raises(InputError, match=r"scan\.nii\.gz: expected a whole image file, found a broken one"):
        read_volume(path)


def test_other_unusable_files(tmp_path):
    path = save(tmp_path / "a.nii", voxels())
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"a\.nii: expected a whole image file"):
        read_volume(path)
    data = voxels(dtype=np.float32)
    data[0, 0, 0], data[1, 1, 1] = np.nan, np.inf
    with pytest.raises(InputError, match=r"b\.nii: expected finite voxels, found 2 that are NaN or Inf"):
        read_volume(save(tmp_path / "b.nii", data))
    with pytest.raises(InputError, match=r"none\.nii: expected an image file, found nothing"):
        read_volume(tmp_path / "none.nii")
    (tmp_path / "dir.nii").mkdir()
    with pytest.raises(InputError, match=r"dir\.nii: expected an image file, found a folder"):
        read_volume(tmp_path / "dir.nii")
    (tmp_path / "a.dcm").touch()
    with pytest.raises(InputError, match=r"a\.dcm: expected a file ending in .*, found \.dcm"):
        read_volume(tmp_path / "a.dcm")
    with pytest.raises(InputError, match=r"c\.nii: expected voxels that are real numbers, found type complex64"):
        read_volume(save(tmp_path / "c.nii", voxels(dtype=np.complex64)))


def test_label_map_round_trip_and_bytes(tmp_path):
    labels = (voxels((4, 5, 6)) % 5).astype(np.uint8)
    write_label_map(tmp_path / "a.nii.gz", labels, OBLIQUE)
    write_label_map(tmp_path / "sub" / "b.nii.gz", labels, OBLIQUE)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "sub" / "b.nii.gz").read_bytes()
    image = nibabel.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), labels)
    assert image.get_data_dtype() == np.uint8
    assert image.header["qform_code"] == image.header["sform_code"] == 1
    np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii.gz", "sub"]
    # Gzip's header: no name, no time.
    assert (tmp_path / "a.nii.gz").read_bytes()[3:8] == b"\x00" * 5
    assert gzip.decompress((tmp_path / "a.nii.gz").read_bytes())[:4] == (348).to_bytes(4, "little")


def test_label_map_refuses_other_types_and_names(tmp_path):
    with pytest.raises(InputError, match=r"a\.nii\.gz: expected labels of type uint8, found int16"):
        write_label_map(tmp_path / "a.nii.gz", voxels(), OBLIQUE)
    with pytest.raises(InputError, match=r"a\.nii: expected a label map's name to end in \.nii\.gz"):
        write_label_map(tmp_path / "a.nii", voxels(dtype=np.uint8), OBLIQUE)
    assert not list(tmp_path.iterdir())


def test_sha256_is_hashlibs(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_file(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(InputError, match="none: expected a readable file"):
        sha256_file(tmp_path / "none")


def with_forms(path, sform, pixdim):
    """Save a NIfTI file whose qform follows pixdim."""
    image = nibabel.Nifti1Image(voxels(), np.diag([*pixdim, 1.0]))
    image.set_qform(np.diag([*pixdim, 1.0]), code=1)
    content = bytearray(image.to_bytes())
    content[280:328] = np.diag([*sform, 1.0])[:3].astype("<f4").tobytes()
    path.write_bytes(content)
    return path


def test_a_header_with_two_voxel_sizes_is_refused(tmp_path):
    sizes = r"found 1 x 1 x 1 by sform, 2 x 2 x 2 by pixdim"
    with pytest.raises(InputError, match=rf"a\.nii: expected one voxel size in the header, {sizes}"):
        read_volume(with_forms(tmp_path / "a.nii", (1, 1, 1), (2, 2, 2)))
    with pytest.raises(InputError, match="by sform"):
        read_volume(with_forms(tmp_path / "b.nii", (2, 2, 2.1), (2, 2, 2)))


@pytest.mark.parametrize("ending", [".nii.gz", ".mha", ".nrrd"])
@pytest.mark.parametrize("size", [(2.0, 2.0, 2.0), (0.9375, 0.9375, 3.3)])
def test_the_voxel_size_is_that_of_monai(tmp_path, ending, size):
    from monai.transforms import LoadImage

    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(size)
    path = save(tmp_path / f"a{ending}", voxels(), affine) if ending == ".nii.gz" else tmp_path / f"a{ending}"
    if ending != ".nii.gz":
        image = itk.image_from_array(np.ascontiguousarray(voxels().transpose()))
        image.SetSpacing(size)
        itk.imwrite(image, str(path))
    loaded = LoadImage(image_only=True)(str(path))
    np.testing.assert_allclose(spacing_of(read_volume(path)[1]), loaded.pixdim, rtol=1e-5)


def test_endings_count_in_capitals_too(tmp_path):
    for ending in (".nii", ".nii.gz", ".mha", ".nrrd"):
        path = tmp_path / f"a{ending}"
        if ending.startswith(".nii"):
            save(path, voxels(), np.eye(4))
        else:
            itk.imwrite(itk.image_from_array(np.ascontiguousarray(voxels().transpose())), str(path))
        found = read_volume(path.rename(tmp_path / f"A{ending.upper()}"))[0]
        np.testing.assert_array_equal(found, voxels())


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_what_follows_the_last_voxel_is_refused(tmp_path, ending):
    path = save(tmp_path / f"a{ending}", voxels())
    opened = gzip.open if ending == ".nii.gz" else open
    with opened(path, "ab") as stream:
        stream.write(bytes(8))
    with pytest.raises(InputError, match=r"a\.nii.*it goes on after its last voxel"):
        read_volume(path)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
@pytest.mark.parametrize("change", [lambda content: content + b"12345678", lambda content: content[:-7]])
def test_a_metaimage_or_nrrd_of_another_length_is_refused(tmp_path, ending, packed, change):
    path = tmp_path / f"a{ending}"
    itk.imwrite(itk.image_from_array(np.ascontiguousarray(voxels().transpose())), str(path), compression=packed)
    np.testing.assert_array_equal(read_volume(path)[0], voxels())
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match="expected a whole image file"):
        read_volume(path)


def test_voxels_in_another_file_are_refused(tmp_path):
    # The hash of the header's file would say nothing of them.
    header = "ObjectType = Image\nNDims = 3\nDimSize = 4 5 6\nElementType = MET_SHORT\nElementDataFile = a.raw\n"
    (tmp_path / "a.mha").write_text(header)
    (tmp_path / "a.raw").write_bytes(voxels().tobytes())
    with pytest.raises(InputError, match=r"a\.mha: .*its voxels are in another file"):
        read_volume(tmp_path / "a.mha")


def huge(ending):
    if ending == ".mha":
        return (
            b"ObjectType = Image\nNDims = 3\nDimSize = 900 900 900\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
        )
    if ending == ".nrrd":
        return b"NRRD0004\ntype: short\ndimension: 3\nsizes: 900 900 900\nendian: little\nencoding: raw\n\n1"
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((900, 900, 900))
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    return gzip.compress(header.binaryblock + bytes(20))


@pytest.mark.parametrize("ending", [".nii.gz", ".mha", ".nrrd"])
def test_a_header_takes_no_memory_for_what_it_only_claims(tmp_path, ending):
    itk.imwrite(itk.image_from_array(voxels()), str(tmp_path / f"small{ending}"))
    read_volume(tmp_path / f"small{ending}")  # loads the readers
    path = tmp_path / f"a{ending}"
    path.write_bytes(huge(ending))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"a\..*: expected a whole image file"):
        read_volume(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB; it claims 1,400,000


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
@pytest.mark.parametrize("kind", ["u1", "i2", "u2", "f4", "f8"])
@pytest.mark.parametrize(("shape", "components"), [((4, 5, 6), 1), ((4, 5, 6), 3), ((7, 8), 1)])
def test_every_kind_of_image_is_read_as_itk_reads_it(tmp_path, ending, packed, kind, shape, components):
    array = np.random.default_rng(1).integers(0, 200, (*shape[::-1], components)).astype(kind)
    image = itk.image_from_array(array if components > 1 else array[..., 0], is_vector=components > 1)
    image.SetSpacing([1.5, 0.5, 2.5][: len(shape)])
    image.SetOrigin([10.0, -20.0, 30.0][: len(shape)])
    itk.imwrite(image, str(tmp_path / f"a{ending}"), compression=packed)
    found, affine = read_volume(tmp_path / f"a{ending}")
    assert found.dtype == np.dtype(kind)
    np.testing.assert_array_equal(found, np.moveaxis(array, -1, 0).T if components > 1 else array[..., 0].T)
    expected = np.diag([-1.5, -0.5, 2.5 if len(shape) == 3 else 1.0, 1.0])
    expected[:3, 3] = -10, 20, 30 if len(shape) == 3 else 0
    np.testing.assert_allclose(affine, expected)


def test_an_nrrd_file_may_name_other_spaces_and_an_axis_that_is_none(tmp_path):
    data = np.arange(48, dtype=np.uint8)
    head = "NRRD0004\n# a comment\ntype: uchar\ndimension: 4\nsizes: 2 2 3 4\nencoding: raw\nkey:=value\n"
    head += "kinds: list domain domain domain\n"
    axes = "space: RAS\nspace directions: none (0,2,0) (-1,0,0) (0,0,3)\nspace origin: (1,2,3)\n\n"
    (tmp_path / "a.nrrd").write_bytes((head + axes).encode() + data.tobytes())
    found, affine = read_volume(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(found[..., 1], data.reshape(2, 2, 3, 4, order="F")[1])
    np.testing.assert_array_equal(affine, [[0, -1, 0, 1], [2, 0, 0, 2], [0, 0, 3, 3], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("type: block", "its header gives type as 'block', which is not read"),
        ("sizes: 2 2", "gives sizes as '2 2', which is not read for 3 axes"),
        ("encoding: bzip2", "gives encoding as 'bzip2'"),
        ("space: scanner-xyz", "gives space as 'scanner-xyz'"),
        ("data file: a.raw", "its voxels are in another file"),
        ("dimension: nan", "expected a whole image file"),
        ("sizes: 2 2 -1", "gives sizes as '2 2 -1'"),
        ("sizes: 2 2 3\nsizes: 2 3 2", "gives sizes twice"),
        ("dimension: 6", "gives dimension as '6'"),
        ("spacings: 1 1", "gives spacings as '1 1'"),
        ("spacings: 1 1 1e400", "gives spacings as '1 1 1e400'"),
        ("space: RAS\nspace directions: (1,0,0) (0,1,0)", "gives spacedirections as"),
        ("space: RAS\nspace directions: (1,0) (0,1) (0,0)", "gives spacedirections as"),
        ("spacings: ", "a line that begins with 'spacings:'"),
    ],
)
def test_a_header_that_cannot_be_read_is_named(tmp_path, line, message):
    fields = {"type": "uchar", "dimension": "3", "sizes": "2 2 3", "encoding": "raw"}
    name, _, value = line.partition(": ")
    text = "".join(f"{key}: {value}\n" for key, value in {**fields, name: value}.items())
    (tmp_path / "a.nrrd").write_bytes(f"NRRD0004\n{text}\n".encode() + bytes(12))
    with pytest.raises(InputError, match=rf"a\.nrrd: .*{message}"):
        read_volume(tmp_path / "a.nrrd")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ElementType = MET_STRING", "its header gives ElementType as 'MET_STRING', which is not read"),
        ("DimSize = 4 5", "gives DimSize as '4 5', which is not read for 3 axes"),
        ("NDims = 0", "gives NDims as '0'"),
        ("ElementSpacing = 1 1", "gives ElementSpacing as '1 1'"),
        ("Offset = 0 0 nan", "gives Offset as '0 0 nan'"),
        ("TransformMatrix = " + "1 " * 50, "gives TransformMatrix as"),
        ("BinaryData = False", "gives BinaryData as 'False'"),
        ("NDims =", "gives NDims as ''"),
    ],
)
def test_a_metaimage_header_that_cannot_be_read_is_named(tmp_path, line, message):
    fields = {"NDims": "3", "DimSize": "2 2 3", "ElementType": "MET_UCHAR"}
    name, _, value = line.partition(" = ")
    text = "".join(f"{key} = {value}\n" for key, value in {**fields, name.removesuffix(" ="): value}.items())
    (tmp_path / "a.mha").write_bytes(f"{text}ElementDataFile = LOCAL\n".encode() + bytes(12))
    with pytest.raises(InputError, match=rf"a\.mha: .*{message}"):
        read_volume(tmp_path / "a.mha")


@pytest.mark.parametrize(("kind", "name"), [("i1", "CHAR"), ("i4", "INT"), ("i8", "LONG_LONG"), ("u8", "ULONG_LONG")])
def test_integers_that_itk_does_not_read_as_they_are(tmp_path, kind, name):
    data = (np.arange(36).reshape(3, 3, 4) - (9 if kind[0] == "i" else 0)).astype(kind)
    header = f"NDims = 2\nDimSize = 3 4\nElementNumberOfChannels = 3\nElementType = MET_{name}\n"
    (tmp_path / "a.mha").write_bytes(f"{header}ElementDataFile = LOCAL\n".encode() + data.tobytes(order="F"))
    found = read_volume(tmp_path / "a.mha")[0]
    assert found.dtype == np.dtype(kind)
    np.testing.assert_array_equal(np.moveaxis(found, -1, 0), data)
    if kind == "u8":
        (tmp_path / "a.mha").write_bytes(f"{header}ElementDataFile = LOCAL\n".encode() + b"\xff" * 288)
        with pytest.raises(InputError, match=r"integers beyond 2\^53"):
            read_volume(tmp_path / "a.mha")
