"""NIfTI: slices as pictures, scaled values, and label maps that nibabel has stretched."""

import gzip
import sys

import nibabel
import numpy as np
import pytest

from unet_jax.data.datasets.formats import declared, nifti
from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError

# z, y, x.
VOLUME = np.arange(4 * 3 * 5, dtype=np.int16).reshape(4, 3, 5)


def saved(values, packed=False, kind=nibabel.Nifti1Image, affine=None, **header):
    volume = kind(values, np.eye(4) if affine is None else affine)
    for name, value in header.items():
        volume.header[name] = value
    data = volume.to_bytes()
    if not packed:
        return data
    return gzip.compress(data)


def pictures(data, axes="", opened=nifti.open_image):
    found = opened("a.nii", data, Reading(axes))
    return np.stack([found.read(page) for page in range(found.count)])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_slices_of_a_volume_are_pictures(packed, kind):
    data = saved(VOLUME.T, packed, kind)
    assert declared.format_of(data) == "NIfTI"
    got = pictures(data)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got[..., 0], VOLUME)
    unsigned = pictures(saved(VOLUME.T.astype(np.uint8), packed, kind))
    assert unsigned.dtype == np.uint8
    np.testing.assert_array_equal(pictures(data, opened=nifti.open_labels)[..., 0], VOLUME)


def test_two_four_and_five_dimensions():
    np.testing.assert_array_equal(pictures(saved(VOLUME[0].T))[0, ..., 0], VOLUME[0])
    # x, y, z, time: all times of a slice follow each other.
    series = np.stack([VOLUME.T, VOLUME.T + 100], -1)
    got = pictures(saved(series))
    np.testing.assert_array_equal(got[..., 0], np.stack([VOLUME, VOLUME + 100], 1).reshape(8, 3, 5))
    np.testing.assert_array_equal(pictures(saved(series), "XYZC"), np.stack([VOLUME, VOLUME + 100], -1))
    np.testing.assert_array_equal(pictures(saved(VOLUME.T[..., None]))[..., 0], VOLUME)
    with pytest.raises(UserError, match=r"^a\.nii: has the shape .*data\.axes"):
        pictures(saved(np.zeros((2, 2, 2, 2, 3), np.int16)))


def test_the_slope_is_applied():
    stored = nibabel.Nifti1Image(VOLUME.T, np.eye(4))
    stored.header.set_slope_inter(0.5, -3)
    np.testing.assert_array_equal(pictures(stored.to_bytes())[..., 0], 0.5 * VOLUME - 3)


def test_stretched_ids_are_brought_back_and_other_values_refused():
    ids = (VOLUME % 4).astype(np.float64)
    volume = nibabel.Nifti1Image(ids.T, np.eye(4))
    volume.set_data_dtype(np.int16)
    data = volume.to_bytes()
    # The ids 0 to 3 are spread over all values of 16 bits.
    reopened = nibabel.Nifti1Image.from_bytes(data)
    assert reopened.dataobj.get_unscaled().min() == -32768
    assert reopened.dataobj.slope != 1
    got = pictures(data, opened=nifti.open_labels)
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got[..., 0], ids)
    np.testing.assert_array_equal(pictures(saved(ids.T.astype(np.float32)), opened=nifti.open_labels)[..., 0], ids)
    with pytest.raises(UserError, match=r"^a\.nii: holds 0\.5, which is no id; save whole numbers"):
        pictures(saved(np.full((2, 2), 0.5, np.float32)), opened=nifti.open_labels)


@pytest.mark.parametrize(("largest", "dtype"), [(10, np.uint8), (100, np.uint8), (250, np.int16), (20000, np.int16)])
def test_ids_are_brought_back_from_coarse_steps_too(largest, dtype):
    ids = np.linspace(0, largest, 60).round().reshape(4, 3, 5)
    volume = nibabel.Nifti1Image(ids.T, np.eye(4))
    volume.set_data_dtype(dtype)
    np.testing.assert_array_equal(pictures(volume.to_bytes(), opened=nifti.open_labels)[..., 0], ids)


def test_grey_values_that_were_stretched_are_no_ids():
    volume = nibabel.Nifti1Image(np.linspace(0, 3, 60).reshape(5, 3, 4), np.eye(4))
    volume.set_data_dtype(np.int16)
    with pytest.raises(
        UserError, match=r"^a\.nii: holds \S+, which is no id; save whole numbers \(scl_slope is 4\.57771e-05\)$"
    ):
        pictures(volume.to_bytes(), opened=nifti.open_labels)


def test_a_mask_lacks_the_channels_that_the_config_names():
    data = saved(VOLUME.T.astype(np.uint8))
    np.testing.assert_array_equal(pictures(data, "XYZC", nifti.open_labels)[..., 0], VOLUME)
    with pytest.raises(UserError, match=r"has 3 dimensions.*axes='XYZC'"):
        pictures(data, "XYZC")


def test_image_and_mask_must_lie_in_one_place(tmp_path):
    def write(name, values=VOLUME.T, affine=(2, 2, 2, 1), packed=False):
        (tmp_path / name).write_bytes(saved(values, packed, affine=np.diag(np.array(affine, float))))
        return tmp_path / name

    image = write("image.nii")
    nifti.check_space(write("same.nii.gz", affine=(2.00001, 2, 2, 1), packed=True), image)
    nifti.check_space(tmp_path / "other.png", image)
    flipped = write("flipped.nii.gz", affine=(2, -2, 2, 1), packed=True)
    with pytest.raises(
        UserError, match=r"flipped\.nii\.gz: lies elsewhere.*row 1 .*\[0\.0, -2\.0, 0\.0, 0\.0\], of the image"
    ):
        nifti.check_space(flipped, image)
    shorter = write("shorter.nii", VOLUME.T[..., :2])
    with pytest.raises(UserError, match=r"shorter\.nii: has x, y, z of \(5, 3, 2\), its image \(5, 3, 4\)"):
        nifti.check_space(shorter, image)


def test_without_nibabel_the_error_names_the_extra(monkeypatch):
    data = saved(VOLUME)
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(UserError, match=r"^a\.nii: NIfTI is read with nibabel; pip install 'unet-jax\[medical\]'$"):
        pictures(data)


def test_other_values_and_damage_are_refused():
    colours = np.zeros((2, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for values in (colours, np.zeros((2, 2), np.complex64)):
        with pytest.raises(UserError, match="save grey values"):
            pictures(saved(values))
    for packed in (False, True):
        data = saved(np.arange(2000, dtype=np.uint8).reshape(50, 40), packed)
        with pytest.raises((ValueError, EOFError)):
            pictures(data[: len(data) // 2])
