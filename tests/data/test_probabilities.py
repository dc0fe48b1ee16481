"""Probabilities per region as 8-bit files that other readers scale by their header."""

import gzip

import itk
import nibabel
import numpy as np
import pytest
from monai.transforms import LoadImage

from benchmark.base.records import InputError
from benchmark.data.probabilities import CUT, MOST, read_probabilities, write_probabilities

CODES = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3)).astype(np.uint8)
AFFINE = np.diag([-2.0, 1.0, 3.0, 1.0])


@pytest.fixture
def file(tmp_path):
    write_probabilities(tmp_path / "case.nii.gz", CODES, AFFINE, ["WT", "TC", "ET"])
    return tmp_path / "case.nii.gz"


def test_codes_come_back_and_equal_codes_are_equal_bytes(file, tmp_path):
    np.testing.assert_array_equal(read_probabilities(file), CODES)
    write_probabilities(tmp_path / "again.nii.gz", CODES, AFFINE, ["WT", "TC", "ET"])
    assert (tmp_path / "again.nii.gz").read_bytes() == file.read_bytes()
    assert b"probability of WT, TC, ET" in gzip.decompress(file.read_bytes())[:348]


def test_other_readers_get_probabilities_that_are_cut_as_codes_are(file):
    image = nibabel.load(file)
    np.testing.assert_allclose(image.affine, AFFINE)
    of_monai = np.moveaxis(np.asarray(LoadImage(ensure_channel_first=True)(str(file))), 0, -1)
    of_itk = itk.array_from_image(itk.imread(str(file))).T
    for found in (image.get_fdata(), of_monai, of_itk):
        np.testing.assert_allclose(found, CODES / MOST, atol=1e-7)
        np.testing.assert_array_equal(found > 0.5, CODES >= CUT)


def test_a_file_that_is_broken_or_holds_something_else_is_refused(file):
    for content, said in ((file.read_bytes()[:-40], "expected a whole image file"), (b"", "expected a whole image")):
        file.write_bytes(content)
        with pytest.raises(InputError, match=said):
            read_probabilities(file)
    nibabel.save(nibabel.Nifti1Image(CODES[..., 0], AFFINE), file)
    with pytest.raises(InputError, match=r"expected uint8 codes with 4 axes, found uint8 with 3\."):
        read_probabilities(file)
