"""NPY and NPZ: what NumPy writes comes back, and what has no meaning as a picture is refused."""

import io

import ml_dtypes
import numpy as np
import pytest

from unet_jax.data.datasets.formats import numpy_arrays
from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError

GREY = np.arange(12, dtype=np.uint16).reshape(3, 4)


def saved(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def zipped(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def pictures(data, axes="", opened=numpy_arrays.open_image):
    found = opened("a.npy", data, Reading(axes))
    return np.stack([found.read(page) for page in range(found.count)])


@pytest.mark.parametrize("order", ["C", "F", ">"])
def test_values_come_back(order):
    array = GREY.astype(">u2") if order == ">" else np.asarray(GREY, order=order)
    for data in (saved(array), zipped(arr_0=array)):
        got = pictures(data)
        assert got.dtype == np.uint16
        np.testing.assert_array_equal(got[0, ..., 0], GREY)
        np.testing.assert_array_equal(pictures(data, opened=numpy_arrays.open_labels)[0, ..., 0], GREY)


def test_the_config_names_the_dimensions():
    array = np.arange(24, dtype=np.float64).reshape(2, 3, 4)
    with pytest.raises(UserError, match=r"a\.npy: has the shape \(2, 3, 4\).*data\.axes.*'YXC'.*'ZYX'"):
        pictures(saved(array))
    assert pictures(saved(array), "ZYX").dtype == np.float32
    np.testing.assert_array_equal(pictures(saved(array), "ZYX")[..., 0], array)
    np.testing.assert_array_equal(pictures(saved(array), "YXC")[0], array)
    np.testing.assert_array_equal(pictures(saved(array), "CYX")[0], array.transpose(1, 2, 0))


def test_a_mask_lacks_the_channels_that_the_config_names():
    np.testing.assert_array_equal(pictures(saved(GREY), "YXC", numpy_arrays.open_labels)[0, ..., 0], GREY)
    np.testing.assert_array_equal(pictures(saved(GREY[None]), "ZYXC", numpy_arrays.open_labels)[..., 0], GREY[None])
    with pytest.raises(UserError, match=r"has 2 dimensions.*axes='YXC'"):
        pictures(saved(GREY), "YXC")


def test_truth_values_are_black_and_white_in_images_and_0_and_1_in_masks():
    assert pictures(saved(GREY > 3)).max() == 255
    assert pictures(saved(GREY > 3), opened=numpy_arrays.open_labels).max() == 1


@pytest.mark.parametrize(
    "array",
    [
        np.array([{}, 1], object),
        np.zeros((2, 2), [("r", "u1"), ("g", "u1")]),
        np.zeros((2, 2), ml_dtypes.bfloat16),
        np.zeros((2, 2), complex),
        np.array([["a"]]),
        np.zeros((0, 3), np.uint8),
    ],
    ids=["objects", "fields", "bfloat16", "complex", "text", "empty"],
)
def test_other_values_are_refused(array):
    for opened in (numpy_arrays.open_image, numpy_arrays.open_labels):
        with pytest.raises(UserError, match=r"^a\.npy: (holds values of type|has the shape)[^\n]*save[^\n]*$"):
            pictures(saved(array), "YX", opened)
    with pytest.raises(UserError, match="float32; save whole numbers"):
        pictures(saved(GREY.astype(np.float32)), opened=numpy_arrays.open_labels)


def test_a_zip_of_several_arrays_is_refused():
    with pytest.raises(UserError, match=r"2 files \(image\.npy, mask\.npy\); only an NPZ of one array"):
        pictures(zipped(image=GREY, mask=GREY))
