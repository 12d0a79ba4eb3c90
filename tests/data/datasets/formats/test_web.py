"""GIF and WebP: frames, palettes, and masks only where nothing is lost."""

import io

import numpy as np
import pytest
from PIL import Image

from unet_jax.data.datasets import image_files
from unet_jax.data.datasets.formats import web
from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError

RNG = np.random.default_rng(5)
GREY = RNG.integers(0, 256, (13, 17), np.uint8)
RGB = RNG.integers(0, 256, (13, 17, 3), np.uint8)


def saved(*frames, format_, **options):
    file = io.BytesIO()
    first, *others = (frame if isinstance(frame, Image.Image) else Image.fromarray(frame) for frame in frames)
    more = {"save_all": True, "append_images": others} if others else {}
    first.save(file, format_, **more, **options)
    return file.getvalue()


def image(data, page=0):
    return web.open_image("a", data, Reading()).read(page)


def labels(data):
    return web.open_labels("a", data, Reading())


def test_lossless_webp_comes_back_as_image_and_as_mask():
    data = saved(RGB, format_="WEBP", lossless=True)
    np.testing.assert_array_equal(image(data), RGB)
    np.testing.assert_array_equal(labels(data).read(0), RGB)
    ids = saved(GREY % 3, format_="WEBP", lossless=True)
    np.testing.assert_array_equal(labels(ids).read(0), GREY % 3)


def test_lossy_and_transparent_webp_are_no_masks():
    smooth = np.add.outer(np.arange(32), np.arange(32)).astype(np.uint8)
    lossy = saved(np.dstack([smooth] * 3), format_="WEBP", lossless=False)
    assert np.abs(image(lossy)[..., 0].astype(int) - smooth).max() < 16
    for data in (lossy, saved(RGB, RGB[::-1], format_="WEBP", lossless=False)):
        with pytest.raises(UserError, match=r"^a: has lossy compression.*lossless WebP"):
            labels(data)
    rgba = np.dstack([RGB, GREY])
    clear = saved(rgba, format_="WEBP", lossless=True, exact=True)
    np.testing.assert_array_equal(image(clear), RGB)
    with pytest.raises(UserError, match="transparent"):
        labels(clear).read(0)


def test_frames_are_pages():
    frames = [RGB, RGB[::-1], RGB[:, ::-1]]
    opened = web.open_image("a", saved(*frames, format_="WEBP", lossless=True), Reading())
    assert opened.count == 3
    np.testing.assert_array_equal([opened.read(page) for page in (2, 0, 1)], [frames[page] for page in (2, 0, 1)])


def test_a_gif_is_grey_or_in_colour_and_as_a_mask_its_indices():
    grey = saved(GREY, format_="GIF")
    np.testing.assert_array_equal(image(grey)[..., 0], GREY)
    picture = Image.fromarray(GREY % 3, "P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    data = saved(picture, format_="GIF")
    np.testing.assert_array_equal(image(data), np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)[GREY % 3])
    opened = labels(data)
    assert len(opened.colours) <= 4
    # Writers may reorder a palette: index and colour belong together.
    np.testing.assert_array_equal(opened.colours[opened.read(0)], image(data))
    with pytest.raises(UserError, match="2 frames"):
        labels(saved(GREY, GREY[::-1], format_="GIF"))


def test_a_gif_of_several_frames_is_a_stack_in_colour_or_grey():
    opened = web.open_image("a", saved(GREY, GREY[::-1], format_="GIF"), Reading())
    np.testing.assert_array_equal(opened.read(1)[..., 0], GREY[::-1])
    np.testing.assert_array_equal(opened.read(0)[..., 0], GREY)


def test_grey_values_in_a_gif_are_the_values_that_were_saved():
    """Pillow stores them as the indices 0 and 1 of a palette."""
    ids = np.where(GREY > 99, 5, 0).astype(np.uint8)
    data = saved(ids, format_="GIF")
    assert np.asarray(Image.open(io.BytesIO(data))).max() == 1
    np.testing.assert_array_equal(labels(data).read(0), ids)


@pytest.mark.parametrize("format_", ["GIF", "WEBP"])
def test_masks_of_grey_values_are_read_by_the_palette_of_the_config(tmp_path, format_):
    """Black is class 1 here, also in a file that holds nothing else."""
    for values in (np.zeros((4, 5), np.uint8), np.eye(4, dtype=np.uint8) * 255):
        path = tmp_path / "a"
        path.write_bytes(saved(values, format_=format_, **({"lossless": True} if format_ == "WEBP" else {})))
        ids = image_files.read_mask(path, palette=((255, 255, 255), (0, 0, 0))).ids
        np.testing.assert_array_equal(ids, values == 0)
        np.testing.assert_array_equal(image_files.read_mask(path, mask_values=(0, 255)).ids, values > 0)


def test_what_is_turned_on_the_screen_is_refused():
    exif = Image.Exif()
    exif[0x0112] = 6
    with pytest.raises(UserError, match=r"^a: has the EXIF orientation tag 6"):
        image(saved(RGB, format_="WEBP", lossless=True, exif=exif))


@pytest.mark.parametrize("format_", ["GIF", "WEBP"])
def test_damage_is_an_error(format_):
    data = saved(RGB, format_=format_, **({"lossless": True} if format_ == "WEBP" else {}))
    for read in (image, lambda cut: labels(cut).read(0)):
        with pytest.raises(OSError, match=r"truncated|decoder|EOF"):
            read(data[: len(data) * 9 // 10])
