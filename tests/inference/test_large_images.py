"""Images that are predicted in bands, pages of a TIFF, and Zarr arrays."""

import numpy as np
import pytest
import tifffile
import zarr
from helpers.grey_images import contents, write_grey
from helpers.known_network import predictor
from PIL import Image

from unet_jax.errors import UserError
from unet_jax.inference import prediction_loop, segmenter
from unet_jax.inference.folder import predict_folder
from unet_jax.inference.inputs import find_inputs
from unet_jax.inference.outputs import IDS, MASKS, OVERLAYS, PROBABILITIES, Choice
from unet_jax.inference.predictor import Predictor
from unet_jax.inference.segmenter import Segmenter

EVERY = (IDS, MASKS, PROBABILITIES, OVERLAYS)


def grey(height, width, seed=0):
    """Draws pixels of three classes; returns them and their ids."""
    ids = np.random.default_rng(seed).integers(0, 3, (height, width)).astype(np.uint8)
    return 100 * ids, ids


@pytest.fixture
def in_bands(monkeypatch):
    """Makes images of more than 1000 pixels large, and the bands of a predictor 7 rows high; returns the sizes of its reads."""
    reads = []
    monkeypatch.setattr(prediction_loop, "LARGE", 1000)

    def bands(self, rows):
        height = rows.shape[0]
        for start in range(0, height, 7):
            pixels = rows.read(start, min(start + 7, height))
            reads.append(pixels.shape)
            yield start, self.predict_images([pixels])[0]

    monkeypatch.setattr(Predictor, "bands", bands)
    # Without probabilities, that of the base class, which calls `bands`.
    monkeypatch.setattr(Predictor, "mask_bands", lambda self, rows: Segmenter.mask_bands(self, rows))
    return reads


def write_large(folder):
    """Writes a large image as PNG, as tiled TIFF and as Zarr, and a small one."""
    pixels, ids = grey(40, 50)
    folder.mkdir()
    Image.fromarray(pixels).save(folder / "a.png")
    tifffile.imwrite(folder / "b.tif", pixels, tile=(16, 16), compression="deflate")
    zarr.create_array(str(folder / "c.zarr"), data=pixels, chunks=(16, 16))
    write_grey(folder / "small.png", (8, 8), 100)
    return ids


def test_a_large_image_is_predicted_in_bands(tmp_path, in_bands):
    ids = write_large(tmp_path / "images")
    info = predict_folder(predictor(), tmp_path / "images", tmp_path / "out", choice=Choice(EVERY))
    assert info["num_images"] == 4
    # Three large images, each in six bands.
    assert len(in_bands) == 18
    for name in ("a", "b", "c"):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"out/ids/{name}.png")), ids)
        assert np.load(tmp_path / f"out/probabilities/{name}.npz")["probabilities"].shape == (40, 50, 3)
        assert (tmp_path / f"out/overlays/{name}.png").exists()
    assert np.asarray(Image.open(tmp_path / "out/ids/small.png")).shape == (8, 8)


@pytest.mark.parametrize("mode", ["softmax", "sigmoid"])
def test_a_large_image_has_the_masks_that_its_probabilities_give(tmp_path, monkeypatch, mode):
    """Without probabilities, ids and masks come from the device."""
    write_large(tmp_path / "images")
    monkeypatch.setattr(prediction_loop, "LARGE", 1000)
    for name, save in (("with", EVERY), ("without", (IDS, MASKS, OVERLAYS))):
        network = predictor(activation=mode)
        if name == "without":
            monkeypatch.setattr(Predictor, "bands", None)
        predict_folder(network, tmp_path / "images", tmp_path / name, choice=Choice(save))
    images = [path.relative_to(tmp_path / "with") for path in (tmp_path / "with").rglob("*.png")]
    assert len(images) == 16
    for path in images:
        assert (tmp_path / "with" / path).read_bytes() == (tmp_path / "without" / path).read_bytes()


def test_a_large_image_is_whole_or_not_there(tmp_path, in_bands, monkeypatch):
    write_large(tmp_path / "images")
    write = prediction_loop.to_masks
    calls = []

    def failing(*given):
        calls.append(1)
        # In the second of the images.
        if len(calls) == 8:
            raise KeyboardInterrupt
        return write(*given)

    with monkeypatch.context() as patch:
        patch.setattr(prediction_loop, "to_masks", failing)
        with pytest.raises(KeyboardInterrupt):
            predict_folder(predictor(), tmp_path / "images", tmp_path / "out", choice=Choice(EVERY, "tiff", "zarr"))
    left = [name for name in contents(tmp_path / "out") if name != "prediction.json"]
    assert left
    assert all("/a." in name for name in left)
    info = predict_folder(predictor(), tmp_path / "images", tmp_path / "out", choice=Choice(EVERY, "tiff", "zarr"))
    assert (info["num_images"], info["num_finished"]) == (3, 1)
    predict_folder(predictor(), tmp_path / "images", tmp_path / "one/out", choice=Choice(EVERY, "tiff", "zarr"))
    assert contents(tmp_path / "out") == contents(tmp_path / "one/out")


def test_a_large_file_that_changes_while_it_is_predicted_is_refused(tmp_path, in_bands, monkeypatch):
    write_large(tmp_path / "images")
    write = segmenter.to_masks

    def changing(*given):
        if len(in_bands) == 6:
            (tmp_path / "images/a.png").touch()
        return write(*given)

    monkeypatch.setattr(segmenter, "to_masks", changing)
    with pytest.raises(UserError, match=r"a\.png: has changed since the prediction began"):
        predict_folder(predictor(), tmp_path / "images", tmp_path / "out")
    assert set(contents(tmp_path / "out")) == {"prediction.json"}


def test_pages_of_a_tiff_are_predicted_one_by_one(tmp_path):
    pages, ids = zip(*(grey(8, 9, seed) for seed in range(3)), strict=True)
    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "images/stack.tif", np.stack(pages), photometric="minisblack")
    assert [image.name for image in find_inputs([tmp_path / "images"]).images] == [f"stack_p00{k}" for k in range(3)]
    assert predict_folder(predictor(), tmp_path / "images", tmp_path / "out", batch_size=2)["num_images"] == 3
    for k in range(3):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"out/ids/stack_p00{k}.png")), ids[k])
    (tmp_path / "out/ids/stack_p001.png").unlink()
    assert predict_folder(predictor(), tmp_path / "images", tmp_path / "out", batch_size=2)["num_images"] == 1
    # A page does not share its results with another file.
    write_grey(tmp_path / "images/stack_p001.png")
    with pytest.raises(UserError, match=r"stack_p001\.png .* one name, stack_p001|stack\.tif .* one name, stack_p001"):
        find_inputs([tmp_path / "images"])


def test_a_zarr_array_that_has_changed_is_found(tmp_path):
    pixels, ids = grey(8, 9)
    array = zarr.create_array(str(tmp_path / "a.zarr"), data=pixels, chunks=(4, 4))
    predict_folder(predictor(), tmp_path / "a.zarr", tmp_path / "out")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out/ids/a.png")), ids)
    assert predict_folder(predictor(), tmp_path / "a.zarr", tmp_path / "out")["num_images"] == 0
    array[5, 5] = 7
    with pytest.raises(UserError, match=r"ids/a\.png was not made from \S*a\.zarr as it is now"):
        predict_folder(predictor(), tmp_path / "a.zarr", tmp_path / "out")
