"""The uncertainty of predictions as files."""

import csv

import numpy as np
import pytest
from etils.epath import Path
from helpers.known_network import predictor
from PIL import Image

from unet_jax.errors import UserError
from unet_jax.inference.outputs import UNCERTAINTY, Choice, MaskFolder
from unet_jax.inference.uncertainty import entropy
from unet_jax.inference.uncertainty_files import read_measures, write_table

NAN = float("nan")


@pytest.fixture
def out(tmp_path):
    return Path(tmp_path / "out")


def write(out, name, probabilities, pairwise_dice=NAN, mutual_information=NAN):
    """Writes the map of an image in two bands."""
    measures = {
        "entropy": float(entropy(probabilities, "softmax").mean()),
        "mutual_information": mutual_information,
        "pairwise_dice": pairwise_dice,
    }
    masks, ids = np.zeros(probabilities.shape, bool), np.zeros(probabilities.shape[:2], np.uint8)
    with MaskFolder(predictor(), out, choice=Choice((UNCERTAINTY,))).open(name, ids.shape, measures) as result:
        for band in (slice(0, 1), slice(1, None)):
            result.write(band.start, masks[band], ids[band], None, probabilities[band])
    return measures


def image(largest):
    """Returns the probabilities of three pixels, one above the other."""
    rest = (1 - largest) / 2
    return np.array([[[1, 0, 0]], [[1 / 3, 1 / 3, 1 / 3]], [[largest, rest, rest]]], np.float32)


def test_a_map_is_16_bit_and_holds_its_measures(out):
    measures = write(out, "day/a", image(1.0), 0.25, 1e-7)
    pixels = np.asarray(Image.open(out / "uncertainty/day/a.tif"))
    assert pixels.dtype == np.uint16
    assert pixels.ravel().tolist() == [0, 65535, 0]
    assert read_measures(out / "uncertainty/day/a.tif") == measures


def test_the_least_certain_image_comes_first(out):
    for name, dice, largest in (("a", 0.9, 0.9), ("b", NAN, 0.8), ("c", 0.3, 1.0), ("d", 0.9, 0.6), ("e", NAN, 0.5)):
        write(out, name, image(largest), dice)
    write_table(out, "abcde")
    table = list(csv.DictReader((out / "uncertainty.csv").read_text().splitlines()))
    assert [row["name"] for row in table] == ["c", "d", "a", "e", "b"]
    assert table[-1]["pairwise_dice"] == ""
    assert float(table[0]["entropy"]) == pytest.approx(1 / 3, abs=1e-6)


def test_a_map_of_another_program_is_named(out):
    write(out, "a", image(0.5))
    path = out / "uncertainty/b.tif"
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(path)
    for content in (path.read_bytes(), b"cut short"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"uncertainty/b\.tif.*predict again"):
            write_table(out, "ab")
