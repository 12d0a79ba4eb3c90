"""Every file that is an image is opened as rows; those that cannot be read in parts are read whole."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from unet_jax.data.datasets import image_files
from unet_jax.data.datasets.image_rows import ArrayRows, bands
from unet_jax.data.datasets.image_sources import name_pages, open_rows
from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError

ROOT = Path(__file__).parents[3]
IMAGE = np.random.default_rng(0).integers(0, 256, (37, 45, 3)).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_other_files_are_read_whole(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), IMAGE)
    (picture,) = open_rows(path)
    np.testing.assert_array_equal(np.concatenate(list(bands(picture.rows, 7))), image_files.read_image(path))


def test_a_page_of_another_stack_is_decoded_when_its_rows_are_read(tmp_path, monkeypatch):
    path = tmp_path / "a.npy"
    stack = np.stack([IMAGE, IMAGE[::-1]])
    np.save(path, stack)
    decoded = []
    chosen_channels = image_files.pictures.chosen_channels
    monkeypatch.setattr(
        image_files.pictures, "chosen_channels", lambda *args: decoded.append(1) or chosen_channels(*args)
    )
    pictures = open_rows(path, Reading("ZYXC"))
    assert ([picture.suffix for picture in pictures], decoded) == (["_p000", "_p001"], [])
    for picture, page in zip(pictures, stack, strict=True):
        np.testing.assert_array_equal(np.concatenate(list(bands(picture.rows, 7))), page)
        assert (picture.rows.shape, picture.rows.dtype) == (page.shape, page.dtype)
    assert len(decoded) == 2
    # Nothing is kept after the last row.
    pictures[0].rows.read(0, 1)
    assert len(decoded) == 3


def test_what_is_no_image_has_the_error_of_an_image_file(tmp_path):
    (tmp_path / "empty.tif").write_bytes(b"")
    (tmp_path / "text.tif").write_text("text")
    for name in ("empty.tif", "text.tif", "absent.tif"):
        with pytest.raises(UserError) as whole:
            image_files.read_image(tmp_path / name)
        with pytest.raises(UserError) as parts:
            open_rows(tmp_path / name)
        assert str(parts.value) == str(whole.value)


def test_suffixes_sort_as_the_pages_do():
    page = ArrayRows(IMAGE)
    assert [picture.suffix for picture in name_pages([page])] == [""]
    for count in (2, 1000, 1001):
        suffixes = [picture.suffix for picture in name_pages([page] * count)]
        assert suffixes == sorted(set(suffixes))
        assert suffixes[0] == ("_p0000" if count > 1000 else "_p000")


def test_zarr_is_imported_where_an_array_is_read():
    code = "import sys, unet_jax.data.datasets.image_sources, unet_jax.inference.writers.band_writers; print('zarr' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
