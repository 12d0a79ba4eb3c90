"""Folders of images of any channels and of floats become data sets; what does not go together is one line."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from unet_jax.data.check.survey import survey_folder
from unet_jax.data.datasets.image_folder import load_image_folder
from unet_jax.errors import UserError

MASK = np.tile(np.arange(4, dtype=np.uint8) % 2, (6, 2))


def floats(channels, seed=0):
    return np.random.default_rng(seed).normal(size=(6, 8, channels)).astype(np.float32)


def write(folder, **images):
    """Writes images by their names, each with a mask, and instances."""
    for name in ("images", "masks", "instances"):
        (folder / name).mkdir()
    for name, image in images.items():
        # Older versions of tifffile refuse the option for one channel.
        contig = "contig" if image.ndim == 3 and image.shape[-1] > 1 else None
        tifffile.imwrite(folder / "images" / f"{name}.tif", image, photometric="minisblack", planarconfig=contig)
        Image.fromarray(MASK).save(folder / "masks" / f"{name}.png")
        Image.fromarray(MASK * 7).save(folder / "instances" / f"{name}.png")
    rows = [f"{name},{split}" for name, split in zip(images, ("train", "val", *["train"] * 9), strict=False)]
    (folder / "index.csv").write_text("\n".join(["id,split", *rows]) + "\n")


def load(folder, **options):
    return load_image_folder(str(folder), cache_dir=str(folder / "cache"), num_classes=2, **options)


@pytest.mark.parametrize("channels", [1, 2, 5, 7])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_any_channels_of_each_type(tmp_path, channels, dtype):
    images = [(200 * floats(channels, seed) ** 2).astype(dtype) % 250 for seed in (0, 1)]
    write(tmp_path, a=images[0], b=images[1])
    dataset = load(tmp_path)
    assert (dataset.channels, dataset.dtype) == (channels, dtype)
    for split, image in zip(("train", "val"), images, strict=True):
        example = dataset.source(split)[0]
        np.testing.assert_array_equal(example["image"], image)
        np.testing.assert_array_equal(example["mask"], MASK)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_is_refused_by_name_or_void(tmp_path, value):
    holed = floats(7)
    holed[2, 3, 1] = holed[4, 5, 6] = value
    write(tmp_path, a=floats(7), b=holed)
    with pytest.raises(UserError, match=r"b\.tif: the image holds 2 pixels .*row 2, column 3.*data\.nan='void'"):
        load(tmp_path)
    assert [str(error).count("b.tif") for error in survey_folder(str(tmp_path), num_classes=2).errors] == [1]
    example = load(tmp_path, nan="void").source("val")[0]
    unknown = np.zeros(MASK.shape, bool)
    unknown[2, 3] = unknown[4, 5] = True
    # In every channel: what a pixel holds beside it cannot leak.
    assert np.isnan(example["image"][unknown]).all()
    np.testing.assert_array_equal(example["image"][~unknown], holed[~unknown])
    np.testing.assert_array_equal(example["mask"], np.where(unknown, 255, MASK))
    np.testing.assert_array_equal(example["instances"], np.where(unknown, 0, 7 * MASK))
    survey = survey_folder(str(tmp_path), num_classes=2, nan="void")
    assert not survey.errors
    assert survey.counts()[255] == 2
    assert all(np.isfinite([image.low, image.high]).all() for image in survey.images)
    assert np.isfinite([image.thumbnail for image in survey.images]).all()


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ((1, "uint8"), (2, "uint8"), "of 2 channels.*of 1 channel;"),
        ((3, "uint8"), (7, "uint8"), "of 7 channels.*of 3 channels;"),
        ((4, "float32"), (2, "float32"), "of 2 channels.*of 4 channels;"),
        ((2, "uint8"), (2, "uint16"), "16-bit.*8-bit;"),
        ((2, "float32"), (2, "uint16"), "16-bit.*of floats;"),
        ((1, "uint8"), (1, "float32"), "of floats.*8-bit;"),
    ],
)
def test_what_does_not_go_together_names_both_files(tmp_path, first, second, words):
    images = [np.ones((6, 8, channels), dtype) for channels, dtype in (first, second)]
    write(tmp_path, a=images[0], c=images[0], b=images[1])
    first_words, second_words = words.split(".*")
    with pytest.raises(UserError, match=rf"b\.tif: is {first_words}, but .*a\.tif is {second_words}"):
        load(tmp_path)
