"""OME-Zarr images and masks: the full size is read, and the axes of the image say what the dimensions are."""

import json

import numpy as np
import pytest
import zarr

from unet_jax.data.datasets import image_files
from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(1, 65536, (3, 2, 20, 30)).astype(np.uint16)
NAMES = {2: "0.4", 3: "0.5"}


def write(path, array, axes, version, level="0", **about):
    """Writes an OME-Zarr image with two levels, of which the first is `array`."""
    listed = [{"name": axis, "type": "channel" if axis == "c" else "space"} for axis in axes]
    scales = {"axes": listed, "datasets": [{"path": level}, {"path": "small"}], "version": NAMES[version]} | about
    attributes = {"multiscales": [scales]}
    group = zarr.create_group(path, zarr_format=version, overwrite=True)
    group.attrs.update({"ome": {**attributes, "version": "0.5"}} if version == 3 else attributes)
    for name, values in ((level, array), ("small", array[..., ::2, ::2] * 0 + 7)):
        stored = group.create_array(
            name, shape=values.shape, dtype=values.dtype, chunks=(*(1,) * (values.ndim - 2), 16, 16)
        )
        stored[...] = values
    return group


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.ome.zarr"


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("level", ["0", "scale0/image"])
def test_the_full_size_of_an_image_is_read(path, version, level):
    for axes in ("zcyx", "tcyx"):
        write(path, IMAGE, axes, version, level)
        opened = image_files.open_pictures(path)
        got = np.stack([opened.read(page) for page in range(opened.count)])
        np.testing.assert_array_equal(got, IMAGE.transpose(0, 2, 3, 1))
    # Channels in front of the slices.
    write(path, IMAGE, "czyx", version, level)
    opened = image_files.open_pictures(path, Reading(channels=(2, 0)))
    assert opened.count == 2
    np.testing.assert_array_equal(opened.read(1), IMAGE[[2, 0], 1].transpose(1, 2, 0))


@pytest.mark.parametrize("version", [2, 3])
def test_a_mask_is_given_by_its_path(path, version):
    write(path, IMAGE, "zcyx", version)
    zarr.open_group(path, mode="a").create_group("labels").attrs["labels"] = ["cells"]
    ids = RNG.integers(0, 2**24, (3, 20, 30)).astype(np.uint32)
    write(path / "labels/cells", ids, "zyx", version)
    masks = image_files.open_labels(path / "labels/cells")
    np.testing.assert_array_equal([masks.read(page) for page in range(masks.count)], ids)
    with pytest.raises(UserError, match=r"labels: is a group of Zarr arrays.*labels/cells"):
        image_files.open_labels(path / "labels")


def test_consolidated_metadata_are_not_used(path):
    group = write(path, IMAGE, "zcyx", 2)
    zarr.consolidate_metadata(path, zarr_format=2)
    changed = IMAGE[:, :, :10]
    del group["0"]
    zarr.create_array(path / "0", data=changed, chunks=(1, 1, 16, 16), zarr_format=2)
    assert image_files.open_pictures(path).read(0).shape == (10, 30, 2)
    (path / ".zmetadata").write_text("{")
    assert image_files.open_pictures(path).count == 3


def test_nothing_is_written(path):
    write(path, IMAGE, "zcyx", 3)
    before = sorted(path.rglob("*"))
    image_files.open_pictures(path).read(0)
    with pytest.raises(UserError, match="absent"):
        image_files.open_pictures(path.with_name("absent.zarr"))
    assert sorted(path.parent.rglob("*")) == [path, *before]


def test_axes_of_older_versions(path):
    array = IMAGE[None]
    group = write(path, array, "", 2)
    group.attrs["multiscales"] = [{"axes": [*"tczyx"], "datasets": [{"path": "0"}], "version": "0.3"}]
    assert image_files.open_pictures(path).count == 2
    group.attrs["multiscales"] = [{"datasets": [{"path": "0"}], "version": "0.1"}]
    np.testing.assert_array_equal(image_files.open_pictures(path).read(1), IMAGE[:, 1].transpose(1, 2, 0))
    group.attrs["multiscales"] = [{"datasets": [{"path": "0"}], "version": "0.4"}]
    with pytest.raises(UserError, match=r"no dimension names; set data\.axes"):
        image_files.open_pictures(path)
    assert image_files.open_pictures(path, Reading("TCZYX")).count == 2


def test_what_is_not_one_image_is_named(path):
    group = write(path, IMAGE, "zcyx", 2)
    scales = group.attrs["multiscales"][0]
    for about, says in (
        ({"multiscales": [scales, scales]}, r"group of 2 OME-Zarr images; .*a\.ome\.zarr/0"),
        ({"plate": {}}, "is a plate of OME-Zarr images"),
        ({"well": {}}, "is a well of OME-Zarr images"),
        ({"multiscales": [scales | {"datasets": [{"path": "../b.zarr"}]}]}, "outside of the folder"),
        ({"multiscales": [scales | {"axes": scales["axes"][1:]}]}, "not the same number"),
        ({"multiscales": [scales | {"datasets": [{"path": "9"}]}]}, r"a\.ome\.zarr/9: is a folder, and no Zarr array"),
    ):
        (path / ".zattrs").write_text(json.dumps(about))
        with pytest.raises(UserError, match=says):
            image_files.open_pictures(path)
