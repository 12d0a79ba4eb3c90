"""A Zarr array is read in bands of rows; what its dimensions are is never guessed, and no chunk is made up."""

import json
import os

import numcodecs
import numpy as np
import pytest
import zarr

from unet_jax.data.datasets import image_files, image_rows
from unet_jax.data.datasets.image_rows import bands
from unet_jax.data.datasets.image_sources import open_rows
from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(1, 65536, (100, 90)).astype(np.uint16)
RGB = RNG.integers(1, 256, (100, 90, 3)).astype(np.uint8)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.zarr"


def write(path, array, *, version=3, chunks=(16, 32), **options):
    chunks = (*chunks, *array.shape[2:])[: array.ndim]
    stored = zarr.create_array(
        path,
        shape=array.shape,
        dtype=array.dtype,
        chunks=chunks,
        zarr_format=version,
        config={"write_empty_chunks": True},
        **options,
    )
    stored[...] = array
    return stored


def read(path, band_rows=7):
    (picture,) = open_rows(path)
    assert picture.suffix == ""
    pixels = np.concatenate(list(bands(picture.rows, band_rows)))
    assert pixels.shape == picture.rows.shape
    assert pixels.dtype == picture.rows.dtype
    assert pixels.dtype.isnative
    return pixels


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("array", [GREY, RGB, GREY.astype(np.float32), GREY.astype(">u2")], ids=lambda a: a.dtype.str)
def test_arrays_of_both_versions(path, version, array):
    write(path, array, version=version)
    for band_rows in (7, 100):
        np.testing.assert_array_equal(read(path, band_rows), array.reshape(100, 90, -1))


@pytest.mark.parametrize(
    "options",
    [{"chunks": (100, 90)}, {"compressors": None}, {"shards": (64, 64)}, {"chunk_key_encoding": {"name": "v2"}}],
    ids=str,
)
def test_any_layout(path, options):
    write(path, GREY, **options)
    np.testing.assert_array_equal(read(path)[..., 0], GREY)


def test_each_chunk_is_decoded_once(path, monkeypatch):
    write(path, GREY)
    (picture,) = open_rows(path)
    rows = []
    getitem = zarr.Array.__getitem__
    monkeypatch.setattr(zarr.Array, "__getitem__", lambda array, index: rows.append(index[0]) or getitem(array, index))
    assert len(list(bands(picture.rows, 5))) == 20
    assert [(part.start, part.stop) for part in rows] == [(at, min(at + 16, 100)) for at in range(0, 100, 16)]


def test_names_decide_what_the_dimensions_are(path):
    moved = np.ascontiguousarray(RGB.transpose(2, 0, 1))
    for number, (array, names) in enumerate(
        [
            (moved, ("c", "y", "x")),
            (moved.transpose(0, 2, 1), ("Channel", "X", "Y")),
            (RGB[None, :, None], ("t", "y", "z", "x", "c")),
        ]
    ):
        place = path.with_name(f"{number}.zarr")
        write(place, array, dimension_names=names, chunks=(16, 16, 16, 16, 16)[: array.ndim])
        np.testing.assert_array_equal(read(place), RGB)
    # xarray's way in version 2.
    stored = write(path, moved, version=2)
    stored.attrs["_ARRAY_DIMENSIONS"] = ["c", "y", "x"]
    np.testing.assert_array_equal(read(path), RGB)


@pytest.mark.parametrize(
    ("shape", "names", "says"),
    [
        ((3, 20, 30), None, r"\(3, 20, 30\) and no dimension names"),
        ((20, 30, 4), None, r"\(20, 30, 4\) and no dimension names"),
        ((1, 20, 30, 3), None, "no dimension names"),
        ((20,), None, "no dimension names"),
        ((5, 20, 30), ("band", "y", "x"), "what 'band' is"),
        ((20, 30), ("a", "b"), "what 'a' is"),
        ((20, 30), ("y", "y"), "dimensions y, y"),
        ((20, 1), ("y", "t"), "dimensions y, t"),
    ],
)
def test_other_dimensions_are_refused(path, shape, names, says):
    write(path, np.ones(shape, np.uint8), chunks=shape, **({"dimension_names": names} if names else {}))
    with pytest.raises(UserError, match=rf"a\.zarr: .*{says}.*set data\.axes"):
        open_rows(path)


def test_the_axes_of_the_config_decide(path):
    stack = RNG.integers(0, 256, (4, 2, 20, 30)).astype(np.uint8)
    write(path, stack, chunks=(1, 1, 8, 16))
    pictures = open_rows(path, Reading("ZCYX"))
    assert [picture.suffix for picture in pictures] == ["_p000", "_p001", "_p002", "_p003"]
    for picture, page in zip(pictures, stack, strict=True):
        np.testing.assert_array_equal(picture.rows.read(3, 19), page[:, 3:19].transpose(1, 2, 0))
    (reversed_channels, *_) = open_rows(path, Reading("ZCYX", channels=(1, 0)))
    np.testing.assert_array_equal(reversed_channels.rows.read(0, 20), stack[0, ::-1].transpose(1, 2, 0))
    with pytest.raises(UserError, match=r"4 dimensions.*names 3"):
        open_rows(path, Reading("ZYX"))
    with pytest.raises(UserError, match=r"a\.zarr: has 2 channels.*no channel 2"):
        open_rows(path, Reading("ZCYX", channels=(2,)))


def test_a_page_is_read_without_the_chunks_of_the_others(path):
    stack = RNG.integers(1, 256, (3, 20, 30)).astype(np.uint8)
    write(path, stack, chunks=(1, 20, 30), dimension_names=("z", "y", "x"))
    (path / "c/1/0/0").unlink()
    opened = image_files.open_pictures(path)
    assert opened.count == 3
    np.testing.assert_array_equal([opened.read(page)[..., 0] for page in (0, 2)], stack[[0, 2]])
    with pytest.raises(UserError, match="its chunk c/1/0/0 is missing"):
        opened.read(1)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint32", "int64", "float16", "float64"])
def test_other_numbers_become_float32(path, dtype):
    array = RNG.integers(-90 if dtype[0] != "u" else 0, 90, (20, 30)).astype(dtype)
    write(path, array)
    got = read(path)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got[..., 0], array)


def test_truth_values_are_black_and_white(path):
    write(path, GREY > 30000)
    np.testing.assert_array_equal(read(path)[..., 0], np.where(GREY > 30000, 255, 0))
    np.testing.assert_array_equal(image_files.read_labels(path), (GREY > 30000).astype(np.uint8))


def test_other_types_are_refused(path):
    write(path, np.ones((20, 30), "complex64"))
    with pytest.raises(UserError, match=r"complex64.*uint8, uint16 or float32"):
        open_rows(path)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", ">u4", "uint64"])
def test_masks_have_the_values_that_are_stored(path, dtype):
    ids = np.full((20, 30), 2**24 + 1 if np.dtype(dtype).itemsize > 2 else 200, dtype)
    write(path, ids)
    got = image_files.read_labels(path)
    assert got.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(got, ids)


def test_masks_that_are_no_ids_are_refused(path):
    write(path, np.ones((20, 30), np.float32))
    with pytest.raises(UserError, match=r"float32.*whole numbers"):
        image_files.open_labels(path)
    write(path, np.ones((20, 30, 2), np.uint8), overwrite=True, dimension_names=("y", "x", "c"))
    with pytest.raises(UserError, match="2 channels of uint8"):
        image_files.open_labels(path)
    lossy = [numcodecs.FixedScaleOffset(0, 0.1, "f8", "u1")]
    write(path, np.ones((20, 30), np.uint8), version=2, overwrite=True, filters=lossy)
    with pytest.raises(UserError, match="codec fixedscaleoffset, which may change ids"):
        image_files.open_labels(path)


def test_an_array_without_values_is_refused(path):
    zarr.create_array(path, shape=(0, 30), dtype=np.uint8, chunks=(1, 30))
    with pytest.raises(UserError, match=r"\(0, 30\), with no values"):
        open_rows(path)


@pytest.mark.parametrize("version", [2, 3])
def test_a_missing_chunk_is_an_error(path, version):
    write(path, GREY, version=version)
    chunk = "c/2/1" if version == 3 else "2.1"
    (path / chunk).unlink()
    (picture,) = open_rows(path)
    np.testing.assert_array_equal(picture.rows.read(0, 32)[..., 0], GREY[:32])
    with pytest.raises(UserError, match=rf"a\.zarr: its chunk {chunk} is missing; .*write_empty_chunks=True"):
        picture.rows.read(32, 33)
    (filled,) = open_rows(path, Reading(missing_chunks="fill"))
    np.testing.assert_array_equal(filled.rows.read(32, 48)[:, :32, 0], GREY[32:48, :32])
    assert not filled.rows.read(32, 48)[:, 32:64].any()
    write(path.with_name("b.zarr"), GREY, version=version)
    path.with_name("b.zarr").joinpath(chunk).rename(path / chunk)
    # What was read last is kept.
    filled.rows.read(0, 1)
    with pytest.raises(UserError, match="changed while it was read"):
        filled.rows.read(32, 33)


@pytest.mark.parametrize("place", ["start", "end"])
def test_a_missing_chunk_of_a_shard_is_an_error(path, place):
    """Zarr would read the fill value."""
    sparse = GREY.copy()
    sparse[48:64, 64:] = 0
    codecs = {"shape": (64, 64), "index_location": place}
    stored = zarr.create_array(path, shape=(100, 90), chunks=(16, 32), shards=codecs, dtype=np.uint16)
    stored[...] = sparse
    (picture,) = open_rows(path)
    np.testing.assert_array_equal(picture.rows.read(0, 48)[..., 0], sparse[:48])
    with pytest.raises(UserError, match="chunk 3/0 in the shard c/0/1 is missing"):
        picture.rows.read(48, 49)
    np.testing.assert_array_equal(picture.rows.read(64, 100)[..., 0], sparse[64:])
    (filled,) = open_rows(path, Reading(missing_chunks="fill"))
    np.testing.assert_array_equal(filled.rows.read(0, 100)[..., 0], sparse)


@pytest.mark.parametrize("change", ["chunk read", "chunk gone", "description"])
def test_an_array_that_changes_is_an_error(path, change, monkeypatch):
    monkeypatch.setattr(image_rows, "KEPT_ROWS", 1)
    write(path, GREY)
    (picture,) = open_rows(path)
    picture.rows.read(0, 100)
    file = path / ("zarr.json" if change == "description" else "c/0/0")
    if change == "chunk gone":
        file.unlink()
    else:
        os.utime(file, ns=(0, 0))
    with pytest.raises(UserError, match="changed while it was read"):
        picture.rows.read(0, 5)


def test_a_chunk_that_changes_while_it_is_decoded_is_an_error(path, monkeypatch):
    write(path, GREY)
    (picture,) = open_rows(path)
    getitem = zarr.Array.__getitem__
    monkeypatch.setattr(zarr.Array, "__getitem__", lambda *args: os.utime(path / "c/0/0", ns=(0, 0)) or getitem(*args))
    with pytest.raises(UserError, match=r"c/0/0: changed while it was read"):
        picture.rows.read(0, 5)


def test_a_damaged_chunk_is_an_error(path):
    write(path, GREY)
    chunk = path / "c/0/0"
    chunk.write_bytes(b"\x07" * chunk.stat().st_size)
    (picture,) = open_rows(path)
    with pytest.raises(UserError, match=r"a\.zarr: cannot be read"):
        picture.rows.read(0, 5)


def test_a_folder_that_is_no_array_is_named(path):
    path.mkdir()
    with pytest.raises(UserError, match=r"neither zarr\.json nor \.zarray"):
        open_rows(path)
    for version in (2, 3):
        group = path.with_name(f"group{version}")
        zarr.open_group(group, mode="w", zarr_format=version).create_array("0", data=GREY)
        with pytest.raises(UserError, match=rf"group of Zarr arrays.*group{version}/0"):
            open_rows(group)
    (path / "zarr.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read as a Zarr array"):
        open_rows(path)


def test_values_that_may_run_code_are_refused(path):
    write(path, GREY, version=2)
    description = json.loads((path / ".zarray").read_text())
    (path / ".zarray").write_text(json.dumps(description | {"filters": [{"id": "pickle", "protocol": 5}]}))
    with pytest.raises(UserError, match="pickled"):
        open_rows(path)


def test_an_array_whose_rows_of_chunks_do_not_fit_is_refused(path):
    zarr.create_array(path, shape=(900_000, 900_000), dtype=np.uint8, chunks=(4096, 4096))
    with pytest.raises(UserError, match="too large"):
        open_rows(path)
