"""NIfTI: slices as pictures, scaled values, and label maps that nibabel has stretched."""

import gzip

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
    # x, y, z, time: the pages of one time follow those of the one before in the order of the axes.
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
    stored, slope = nifti._read("a", data)[1:3]
    assert stored.min() == -32768
    assert slope != 1
    got = pictures(data, opened=nifti.open_labels)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got[..., 0], ids)
    np.testing.assert_array_equal(pictures(saved(ids.T.astype(np.float32)), opened=nifti.open_labels)[..., 0], ids)
    with pytest.raises(UserError, match=r"^a\.nii: holds 0\.5, which is no id; save whole numbers"):
        pictures(saved(np.full((2, 2), 0.5, np.float32)), opened=nifti.open_labels)


def test_image_and_mask_can_be_told_to_lie_elsewhere():
    spaces = [nifti.open_image("a", saved(VOLUME.T, affine=np.diag([s, 1, 1, 1])), Reading()).space for s in (1, 1, -1)]
    assert spaces[0] == spaces[1] != spaces[2]


def test_other_values_and_damage_are_refused():
    colours = np.zeros((2, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for values in (colours, np.zeros((2, 2), np.complex64)):
        with pytest.raises(UserError, match="save grey values"):
            pictures(saved(values))
    for packed in (False, True):
        data = saved(np.arange(2000, dtype=np.uint8).reshape(50, 40), packed)
        with pytest.raises((ValueError, EOFError)):
            pictures(data[: len(data) // 2])
