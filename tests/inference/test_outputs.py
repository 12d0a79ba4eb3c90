"""The formats of the results, and results that are written in bands."""

import resource

import numpy as np
import pytest
import tifffile
import zarr
from helpers.grey_images import contents
from helpers.known_network import predictor
from PIL import Image

from unet_jax.errors import UserError
from unet_jax.inference import outputs
from unet_jax.inference.outputs import IDS, MASKS, OVERLAYS, PROBABILITIES, SAVED, Choice, MaskFolder
from unet_jax.inference.writers import whole_writers
from unet_jax.segmentation import to_masks


def result(height=40, width=30, seed=0):
    """Makes an image and what a network could give for it."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet((1, 1, 1), (height, width)).astype(np.float32)
    image = rng.integers(0, 256, (height, width, 1), dtype=np.uint8)
    return (*to_masks(probabilities, "softmax"), image, probabilities)


def read(path):
    if path.suffix == ".zarr":
        return zarr.open_array(str(path), mode="r")[:]
    if path.suffix == ".npz":
        return np.load(path)["probabilities"]
    return tifffile.imread(path) if path.suffix == ".tif" else np.asarray(Image.open(path))


@pytest.mark.parametrize(("mask_format", "suffix"), [("", "png"), ("png", "png"), ("tiff", "tif"), ("zarr", "zarr")])
def test_ids_and_masks_in_each_format(tmp_path, mask_format, suffix):
    masks, ids, image, _ = result()
    MaskFolder(predictor(), tmp_path, choice=Choice((IDS, MASKS), mask_format)).write("sub/a", masks, ids, image)
    np.testing.assert_array_equal(read(tmp_path / f"ids/sub/a.{suffix}"), ids)
    np.testing.assert_array_equal(read(tmp_path / f"masks/cathode/sub/a.{suffix}"), masks[..., 2] * 255)
    assert not (tmp_path / "overlays").exists()


@pytest.mark.parametrize(
    ("probability_format", "suffix", "full"), [("npz", "npz", 1), ("zarr", "zarr", 1), ("tiff", "tif", 65535)]
)
def test_probabilities_in_each_format(tmp_path, probability_format, suffix, full):
    *given, probabilities = result()
    choice = Choice((PROBABILITIES,), probability_format=probability_format)
    MaskFolder(predictor(), tmp_path, choice=choice).write("a", *given, probabilities)
    stored = read(tmp_path / f"probabilities/a.{suffix}")
    assert stored.dtype == (np.float16 if full == 1 else np.uint16)
    assert abs(stored.astype(np.float64) / full - probabilities).max() <= (0.501 / full if full > 1 else 2**-12)
    assert not (tmp_path / "ids").exists()


@pytest.mark.parametrize(("mask_format", "probability_format"), [("png", "npz"), ("tiff", "tiff"), ("zarr", "zarr")])
def test_bands_give_the_files_of_the_whole(tmp_path, monkeypatch, mask_format, probability_format):
    monkeypatch.setattr(whole_writers, "LARGEST_OVERLAY", 16)
    masks, ids, image, probabilities = result(300, 70)
    folders = [
        MaskFolder(predictor(), tmp_path / name, choice=Choice(SAVED, mask_format, probability_format))
        for name in ("whole", "bands")
    ]
    folders[0].write("a", masks, ids, image, probabilities)
    with folders[1].open("a", ids.shape) as bands:
        for start, stop in ((0, 7), (7, 270), (270, 271), (271, 300)):
            rows = slice(start, stop)
            bands.write(start, masks[rows], ids[rows], image[rows], probabilities[rows])
        # Nothing has its name yet.
        assert not [name for name in contents(tmp_path / "bands") if "/a." in name]
    assert contents(tmp_path / "bands") == contents(tmp_path / "whole")


def test_ids_of_a_very_large_image_are_tiff_where_no_format_is_chosen(tmp_path, monkeypatch):
    masks, ids, image, _ = result()
    monkeypatch.setattr(outputs, "LARGEST_PNG", ids.size - 1)
    folder = MaskFolder(predictor(), tmp_path, choice=Choice())
    folder.write("a", masks, ids, image)
    assert sorted(path.name for path in tmp_path.rglob("a.*")) == ["a.png", "a.tif", "a.tif", "a.tif"]
    assert folder.listing().has_all("a")
    (tmp_path / "masks/anode/a.tif").unlink()
    assert not folder.listing().has_all("a")
    folder.listing().remove(["a"])
    assert not list(tmp_path.rglob("a.*"))


@pytest.mark.parametrize("size", [(40, 100), (1, 100), (100, 1), (99, 23)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_overlay_is_reduced_by_whole_squares(tmp_path, monkeypatch, size, dtype):
    monkeypatch.setattr(whole_writers, "LARGEST_OVERLAY", 25)
    drawn = []
    monkeypatch.setattr(
        whole_writers.drawing, "draw_prediction", lambda *given: drawn.append(given) or np.zeros((4, 4, 3), np.uint8)
    )
    masks, ids, _, _ = result(*size)
    image = np.random.default_rng(1).integers(0, 256, (*size, 3)).astype(dtype)
    with MaskFolder(predictor(), tmp_path, choice=Choice((OVERLAYS,))).open("a", size) as bands:
        for start in range(0, size[0], 3):
            rows = slice(start, start + 3)
            bands.write(start, masks[rows], ids[rows], image[rows])
    shown, of_masks, *_ = drawn[0]
    height, width = max(size[0] // 4, 1), max(size[1] // 4, 1)
    assert shown.shape == (height, width, 3)
    assert of_masks.shape == (height, width, 2)
    for row, column in ((0, 0), (height - 1, width - 1)):
        square = image[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        assert abs(shown[row, column] - square.mean((0, 1))).max() <= 1
        middle = min(4 * row + 2, size[0] - 1), min(4 * column + 2, size[1] - 1)
        np.testing.assert_array_equal(of_masks[row, column], masks[middle][1:])


@pytest.mark.parametrize("mask_format", ["png", "tiff", "zarr"])
def test_an_error_leaves_nothing(tmp_path, mask_format):
    masks, ids, image, probabilities = result()
    folder = MaskFolder(predictor(), tmp_path, choice=Choice(SAVED, mask_format, "npz"))

    def write_some(error=None):
        with folder.open("a", ids.shape) as bands:
            bands.write(0, masks[:9], ids[:9], image[:9], probabilities[:9])
            if error:
                raise error

    with pytest.raises(KeyboardInterrupt):
        write_some(KeyboardInterrupt)
    assert contents(tmp_path) == {}
    # Rows that are missing are a fault of the program.
    with pytest.raises(ValueError, match="9 of 40 rows"):
        write_some()
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(("mask_format", "probability_format"), [("png", "npz"), ("tiff", "tiff"), ("zarr", "zarr")])
def test_a_full_disk_is_one_line_and_leaves_nothing_half(tmp_path, mask_format, probability_format):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    folder = MaskFolder(predictor(), tmp_path, choice=Choice((MASKS, PROBABILITIES), mask_format, probability_format))
    # SIGXFSZ, which would end the process, is ignored by Python.
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(
            UserError, match=r"probabilities/a\.\w+: cannot be written \(File too large\); .*free some space"
        ):
            folder.write("a", *result())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not [name for name in contents(tmp_path) if name.startswith("probabilities")]


def test_a_name_that_becomes_too_long_is_refused(tmp_path):
    for mask_format, length in (("png", 251), ("zarr", 250)):
        folder = MaskFolder(predictor(), tmp_path, choice=Choice((IDS,), mask_format))
        folder.check_names(["a", "deep/" + "n" * length])
        with pytest.raises(UserError, match="more than 255 bytes; rename the image"):
            folder.check_names(["a", "n" * (length + 1)])


def test_a_choice_that_is_unknown_is_refused(tmp_path):
    for fields, words in (
        ({"save": ("ids", "mask")}, "--save=ids,mask: give some of ids, masks, probabilities, overlays"),
        ({"save": ()}, "--save=: give some"),
        ({"mask_format": "jpg"}, "--mask_format=jpg is unknown; give one of png, tiff, zarr"),
        ({"probability_format": "png"}, "--probability_format=png is unknown; give one of npz, zarr, tiff"),
    ):
        with pytest.raises(UserError, match=words):
            Choice(**fields)
    for choice in (Choice(mask_format="tiff"), Choice((PROBABILITIES,))):
        with pytest.raises(UserError, match=r"--out=gs://bucket/out is in a bucket, which takes PNG files alone"):
            MaskFolder(predictor(), "gs://bucket/out", choice=choice)
