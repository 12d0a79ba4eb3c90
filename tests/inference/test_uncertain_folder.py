"""Folders of images that an ensemble predicts, with the uncertainty, small images in batches and large ones in bands."""

import csv

import numpy as np
import pytest
from helpers.grey_images import contents
from helpers.known_network import predictor
from PIL import Image

from unet_jax.errors import UserError
from unet_jax.inference import prediction_loop
from unet_jax.inference.ensemble import Ensemble
from unet_jax.inference.folder import predict_folder
from unet_jax.inference.large import scratch
from unet_jax.inference.outputs import IDS, PROBABILITIES, UNCERTAINTY, Choice
from unet_jax.inference.record import read, settings_of
from unet_jax.inference.uncertainty_files import read_measures

CHOICE = Choice((IDS, PROBABILITIES, UNCERTAINTY))


@pytest.fixture
def images(tmp_path):
    """Two images of three classes with noise, in two folders."""
    rng = np.random.default_rng(0)
    for name, size in (("one/a", (40, 50)), ("two/b", (21, 9))):
        path = tmp_path / "images" / f"{name}.png"
        path.parent.mkdir(parents=True)
        pixels = 100 * rng.integers(0, 3, size) + rng.integers(0, 55, size)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return tmp_path / "images"


def test_large_images_give_the_same_files_as_small_ones(images, tmp_path, monkeypatch):
    ensemble = Ensemble([predictor(), predictor(pad_multiple=32)], "all")
    small = tmp_path / "small"
    info = predict_folder(ensemble, images, small, choice=CHOICE, recursive=True)
    assert info["num_compiles"] > 0
    monkeypatch.setattr(prediction_loop, "LARGE", 100)
    predict_folder(ensemble, images, tmp_path / "large", choice=CHOICE, recursive=True)
    assert contents(tmp_path / "large") == contents(small)
    # All that is held lies in files, and is worked on in bands. Only the sum of the entropies has another order.
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(scratch, "BAND_BYTES", 3000)
    predict_folder(ensemble, images, tmp_path / "on_disk", choice=CHOICE, recursive=True)
    for name in ("ids/one/a.png", "probabilities/two/b.npz"):
        assert (tmp_path / "on_disk" / name).read_bytes() == (small / name).read_bytes()
    for name in ("one/a", "two/b"):
        maps = [folder / f"uncertainty/{name}.tif" for folder in (small, tmp_path / "on_disk")]
        np.testing.assert_array_equal(*(np.asarray(Image.open(path)) for path in maps))
        measures, on_disk = (read_measures(path) for path in maps)
        assert on_disk == pytest.approx(measures, abs=1e-9)
        assert 0 < measures["entropy"] < 1
    table = list(csv.DictReader((small / "uncertainty.csv").read_text().splitlines()))
    assert sorted(row["name"] for row in table) == ["one/a", "two/b"]


def test_views_and_networks_are_part_of_the_record(images, tmp_path):
    out = tmp_path / "out"
    predict_folder(Ensemble([predictor()], "flips"), images, out, recursive=True, choice=Choice((IDS,)))
    settings = read(out).settings
    assert settings["views"] == "flips"
    assert [network["pad_multiple"] for network in settings["networks"]] == [16]
    others = (
        predictor(),
        Ensemble([predictor()], "turns"),
        Ensemble([predictor(), predictor(pad_multiple=32)], "flips"),
    )
    for other in others:
        assert settings_of(other) != settings_of(Ensemble([predictor()], "flips"))
        with pytest.raises(UserError, match=r"holds results that were made"):
            predict_folder(other, images, out, recursive=True, choice=Choice((IDS,)))
