"""The folder of a Zarr array lies among the images, and is read as a file is."""

import numpy as np
import zarr
from helpers.image_folders import GREY, IDS

from unet_jax.data.store.cache import file_digests, stamp

STACK = np.stack([GREY, GREY[::-1]])
MASKS = np.stack([IDS, IDS[::-1]])


def write(folder, name, values, names):
    (folder.root / name).parent.mkdir(parents=True, exist_ok=True)
    array = zarr.create_array(
        folder.root / name,
        shape=values.shape,
        chunks=values.shape,
        dtype=values.dtype,
        dimension_names=names,
        config={"write_empty_chunks": True},
    )
    array[...] = values


def test_an_array_is_an_image_and_its_pages_are_several(folder):
    write(folder, "images/flat.zarr", GREY, ("y", "x"))
    folder.write("masks/flat.png", IDS)
    write(folder, "images/deep.zarr", STACK, ("z", "y", "x"))
    write(folder, "masks/deep.zarr", MASKS, ("z", "y", "x"))
    examples = folder.examples()
    assert sorted(examples) == ["deep#0000", "deep#0001", "flat"]
    np.testing.assert_array_equal(examples["flat"]["image"][..., 0], GREY)
    np.testing.assert_array_equal(examples["deep#0001"]["mask"], MASKS[1])


def test_an_array_that_changes_is_prepared_anew(folder):
    write(folder, "images/flat.zarr", GREY, ("y", "x"))
    folder.write("masks/flat.png", IDS)
    path = folder.root / "images/flat.zarr"
    before = (folder.create().fingerprint, stamp(path), file_digests([path], folder.cache))
    zarr.open_array(path, mode="r+")[0, 0] = 255 - GREY[0, 0]
    after = (folder.create().fingerprint, stamp(path), file_digests([path], folder.cache))
    assert all(one != other for one, other in zip(before, after, strict=True))
