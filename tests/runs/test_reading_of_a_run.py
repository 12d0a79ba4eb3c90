"""New images are read as those of the training: the same channels and the same axes."""

import types

import numpy as np
import pytest
import tifffile
from ml_collections import ConfigDict

from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError
from unet_jax.inference.inputs import find_inputs
from unet_jax.runs.load import Opened

ARRAY = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
HOW = Reading(axes="ZCYX", channels=(2, 0))


def opened(*data):
    runs = tuple(types.SimpleNamespace(config=ConfigDict({"data": keys})) for keys in data)
    return Opened(runs, segmenter=None, models=tuple("abc"[: len(data)]))


def test_the_keys_of_the_config_are_those_of_the_reading():
    keys = {"name": "image_folder", "axes": "ZCYX", "channels": (2, 0), "missing_chunks": "error"}
    assert opened(keys).reading == HOW
    # A run of an earlier version, and one on another data set.
    assert opened({"name": "electrodes"}).reading == Reading()
    assert opened(keys, keys).reading == HOW
    with pytest.raises(UserError, match=r"b: was trained .*, and a with .*; predict with each alone"):
        _ = opened(keys, {"name": "image_folder"}).reading


def test_pages_have_the_channels_of_the_reading_in_bands_and_as_a_whole(tmp_path):
    tifffile.imwrite(tmp_path / "stack.tif", ARRAY, photometric="minisblack")
    tifffile.imwrite(tmp_path / "single.tif", ARRAY[0], photometric="minisblack", metadata={"axes": "CYX"})
    images = find_inputs([tmp_path / "stack.tif"], how=HOW).images
    assert [image.name for image in images] == ["stack_p000", "stack_p001"]
    for page, image in enumerate(images):
        np.testing.assert_array_equal(image.read(), ARRAY[page][[2, 0]].transpose(1, 2, 0))
    (single,) = find_inputs([tmp_path / "single.tif"], how=Reading(channels=(1,))).images
    np.testing.assert_array_equal(single.read()[..., 0], ARRAY[0, 1])
    np.testing.assert_array_equal(single.open().read(1, 3)[..., 0], ARRAY[0, 1, 1:3])
