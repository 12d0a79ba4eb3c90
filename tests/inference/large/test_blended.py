"""Networks that normalise over the whole map: tiles that are blended are close to the whole, without seams."""

import jax
import numpy as np
import pytest
from helpers.large_images import trained

from unet_jax.data.datasets.image_rows import ArrayRows
from unet_jax.errors import UserError
from unet_jax.inference import predictor
from unet_jax.inference.large import blended
from unet_jax.inference.large.blended import Blended, gaussian
from unet_jax.inference.predictor import Predictor
from unet_jax.runtime.out_of_memory import OutOfMemory

NAMES = ("a", "b", "c")


def ramp(height, width):
    """Draws noise whose mean and contrast are those of every part."""
    return np.random.default_rng(0).integers(0, 250, (height, width), dtype=np.uint8)


def predict(image, memory, devices=1, **options):
    module, variables = trained("unet", **options)
    # Logits near 0, so that no class is certain and differences show.
    head = {"kernel": 0.1 * variables["params"]["head"]["kernel"], "bias": variables["params"]["head"]["bias"]}
    variables = variables | {"params": variables["params"] | {"head": head}}
    network = Predictor(module, variables, NAMES, memory=memory, devices=jax.local_devices()[:devices], pad_multiple=4)
    starts, bands = zip(*network.bands(ArrayRows(image)), strict=True)
    assert list(starts) == list(np.cumsum([0, *map(len, bands)])[:-1])
    return np.concatenate(bands), network


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch):
    monkeypatch.setattr(predictor, "SMALL", 0)
    monkeypatch.setattr(blended, "LARGEST", 64)
    monkeypatch.setattr(blended, "SMALLEST", 32)


@pytest.mark.parametrize(
    "options", [{"widths": (8, 8), "norm": "group"}, {"widths": (4, 4), "norm": "instance", "padding": "valid"}]
)
def test_tiles_are_close_to_the_whole_and_have_no_seams(options, monkeypatch, capsys):
    image = ramp(150, 101)
    expected, _ = predict(image, 2**40, **options)
    assert "blended" not in capsys.readouterr().err
    monkeypatch.setattr(Predictor, "may_fit", lambda *_: False)
    found, network = predict(image, 2**39, 4, **options)
    assert isinstance(network._in_parts, Blended)
    off = abs(found - expected)
    # Statistics of a tile of noise are about those of the image.
    assert off.max() < 0.1
    assert off.mean() < 0.01
    # A seam would be a row (column) in which the difference jumps.
    for axis in (0, 1):
        jumps = abs(np.diff(found - expected, axis=axis)).mean((1 - axis, 2))
        assert jumps.max() < 6 * np.median(jumps)
    told = capsys.readouterr().err
    assert told.count("blended") == 1
    assert "the probabilities are approximate" in told


def test_masks_are_those_of_the_blended_probabilities(monkeypatch):
    monkeypatch.setattr(Predictor, "may_fit", lambda *_: False)
    image = ramp(90, 70)
    probabilities, network = predict(image, 2**39, widths=(8, 8), norm="group")
    starts, masks, ids = zip(*network.mask_bands(ArrayRows(image)), strict=True)
    assert starts[0] == 0
    np.testing.assert_array_equal(np.concatenate(ids), probabilities.argmax(-1))
    np.testing.assert_array_equal(np.concatenate(masks).argmax(-1), probabilities.argmax(-1))
    heads = np.concatenate([band.probabilities for band in network.member_bands(ArrayRows(image))])
    np.testing.assert_allclose(heads, probabilities, atol=1e-6)


def test_the_weights_are_largest_in_the_middle():
    for size in (1, 8, 65):
        weights = gaussian(size)
        assert weights.dtype == np.float32
        np.testing.assert_allclose(weights, weights[::-1], rtol=1e-6)
        assert weights.argmax() in (size // 2, (size - 1) // 2)
        assert weights.min() >= blended.LEAST_WEIGHT


def test_a_budget_below_the_smallest_tile_is_refused(monkeypatch):
    with pytest.raises((OutOfMemory, UserError), match="memory") as error:
        predict(ramp(90, 70), 1000, widths=(8, 8), norm="group")
    assert "\n" not in str(error.value)
