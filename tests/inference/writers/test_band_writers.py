"""What is written in bands is read back whole, and a name holds the old result or the whole new one."""

import errno
import os

import numpy as np
import pytest
import tifffile
import zarr

from unet_jax.data.datasets import image_files
from unet_jax.data.datasets.image_rows import bands
from unet_jax.data.datasets.image_sources import open_rows
from unet_jax.errors import UserError
from unet_jax.inference.writers import band_writers
from unet_jax.inference.writers.band_writers import TiffBands, ZarrBands

IDS = np.random.default_rng(0).integers(0, 3, (101, 77)).astype(np.uint8)
WRITERS = [TiffBands, ZarrBands]


def write(writer, image, band_rows=7):
    for start in range(0, len(image), band_rows):
        writer.write(start, image[start : start + band_rows])


def read(path):
    return tifffile.imread(path) if path.is_file() else np.asarray(zarr.open_array(path, mode="r")[...])


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16])
@pytest.mark.parametrize("band_rows", [7, 32, 101])
def test_bands_are_read_back(tmp_path, writer, dtype, band_rows):
    for image in (IDS.astype(dtype), np.dstack([IDS, 255 - IDS]).astype(dtype), IDS[:5].astype(dtype)):
        with writer(tmp_path / "new" / "a", image.shape, dtype, tile=32) as open_writer:
            write(open_writer, image, band_rows)
        got = read(tmp_path / "new" / "a")
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, image)
    assert os.listdir(tmp_path / "new") == ["a"]


@pytest.mark.parametrize("writer", WRITERS)
def test_results_are_images_and_masks_that_the_project_reads(tmp_path, writer):
    # With tiles of nothing but 0, which Zarr would leave out.
    ids = IDS * (np.arange(101) < 40)[:, None]
    with writer(tmp_path / "a.tif", ids.shape, tile=16) as open_writer:
        write(open_writer, ids)
    (picture,) = open_rows(tmp_path / "a.tif")
    np.testing.assert_array_equal(np.concatenate(list(bands(picture.rows, 10)))[..., 0], ids)
    if writer is TiffBands:
        np.testing.assert_array_equal(image_files.read_mask(tmp_path / "a.tif").ids, ids)


def test_a_tiff_is_tiled_and_compressed_and_the_same_each_time(tmp_path):
    for name in ("a", "b"):
        with TiffBands(tmp_path / name, (600, 300)) as writer:
            write(writer, np.zeros((600, 300), np.uint8), 64)
    with tifffile.TiffFile(tmp_path / "a") as tif:
        (page,) = tif.pages
        assert (page.tilelength, page.tilewidth) == (256, 256)
        assert page.compression == 8
        assert not tif.is_bigtiff
    assert (tmp_path / "a").stat().st_size < 2000
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_tiff_that_needs_it_is_a_big_one(tmp_path, monkeypatch):
    monkeypatch.setattr(band_writers, "CLASSIC_BYTES", 100)
    with TiffBands(tmp_path / "a", IDS.shape, tile=16) as writer:
        write(writer, IDS)
    with tifffile.TiffFile(tmp_path / "a") as tif:
        assert tif.is_bigtiff
    np.testing.assert_array_equal(read(tmp_path / "a"), IDS)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_name_holds_the_old_result_until_the_new_one_is_whole(tmp_path, writer):
    for image in (IDS, IDS[::-1].copy()):
        open_writer = writer(tmp_path / "a", image.shape, tile=32)
        write(open_writer, image)
        if image is IDS:
            assert not (tmp_path / "a").exists()
        else:
            np.testing.assert_array_equal(read(tmp_path / "a"), IDS)
        open_writer.close()
        open_writer.discard()
        np.testing.assert_array_equal(read(tmp_path / "a"), image)
        assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("writer", WRITERS)
def test_an_error_leaves_nothing(tmp_path, writer):
    def interrupted():
        with writer(tmp_path / "a", IDS.shape, tile=32) as open_writer:
            open_writer.write(0, IDS[:50])
            # What lies there is hidden.
            assert all(name.startswith(".") for name in os.listdir(tmp_path))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("writer", WRITERS)
def test_missing_rows_are_an_error(tmp_path, writer):
    open_writer = writer(tmp_path / "a", IDS.shape)
    open_writer.write(0, IDS[:50])
    with pytest.raises(ValueError, match="50 of 101 rows"):
        open_writer.close()
    open_writer.discard()
    assert os.listdir(tmp_path) == []


def test_a_full_disk_names_the_result(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(band_writers.tifffile.TiffWriter, "write", full)
    writer = TiffBands(tmp_path / "a", IDS.shape)
    writer.write(0, IDS)
    with pytest.raises(OSError, match="No space") as error:
        writer.close()
    writer.discard()
    assert error.value.filename == str(tmp_path / "a")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("writer", WRITERS)
def test_other_bands_are_refused(tmp_path, writer):
    open_writer = writer(tmp_path / "a", IDS.shape)
    for start, band in ((1, IDS), (0, IDS[:, 1:]), (0, IDS[..., None]), (0, np.vstack([IDS, IDS]))):
        with pytest.raises(ValueError, match="row 0 of"):
            open_writer.write(start, band)
    with pytest.raises(ValueError, match="int64"):
        open_writer.write(0, IDS.astype(np.int64))
    open_writer.discard()
    with pytest.raises(UserError, match="bucket"):
        writer("gs://bucket/a", IDS.shape)
