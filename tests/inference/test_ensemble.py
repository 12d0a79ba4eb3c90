"""Several networks and views that predict together."""

import dataclasses

import jax
import numpy as np
import pytest
from helpers.known_network import GreyLevels
from helpers.small_nets import random_variables

from unet_jax import models
from unet_jax.data.datasets.image_rows import ArrayRows
from unet_jax.errors import UserError
from unet_jax.inference.ensemble import Ensemble
from unet_jax.inference.large import scratch
from unet_jax.inference.predictor import Predictor
from unet_jax.inference.views import VIEWS

SIZES = ((17, 40), (1, 9), (33, 16))


class Banded(Predictor):
    """Gives bands of three rows, as a predictor does that streams an image."""

    def bands(self, rows):
        probabilities = self.predict_images([rows.read(0, rows.shape[0])])[0]
        for start in range(0, len(probabilities), 3):
            yield start, probabilities[start : start + 3]


@pytest.fixture(scope="module")
def networks():
    """Two networks of one kind, so that both run one compiled program."""
    module = models.build("unet_pp", num_classes=3, widths=(4, 6, 8), deep_supervision=True)
    variables = random_variables(module, np.zeros((1, 16, 16, 1), np.float32))
    other = jax.tree.map(lambda x: np.asarray(x)[::-1].copy(), variables)
    shared = {"class_names": ("background", "anode", "cathode"), "pad_multiple": 16, "devices": jax.local_devices()[:1]}
    return [Banded(module, part, **shared) for part in (variables, other)]


def image(height, width, dtype=np.uint8):
    values = np.random.default_rng(0).integers(0, 256, (height, width, 1))
    return (values / 255).astype(dtype) if dtype == np.float32 else values.astype(dtype)


@pytest.mark.parametrize("name", ["flips", "turns", "all"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_prediction_of_a_view_is_the_view_of_the_prediction(networks, name, dtype):
    ensemble = Ensemble(networks[:1], name)
    images = [image(*size, dtype) for size in SIZES]
    expected = ensemble.predict_images(images)
    for view in VIEWS[name]:
        for probabilities, given in zip(
            expected, ensemble.predict_images([view.apply(x) for x in images]), strict=True
        ):
            np.testing.assert_allclose(given, view.apply(probabilities), rtol=0, atol=1e-6)
    # One network alone sees the difference.
    alone = networks[0].predict_images([images[0], np.ascontiguousarray(VIEWS[name][1].apply(images[0]))])
    assert abs(alone[1] - VIEWS[name][1].apply(alone[0])).max() > 1e-3


def test_the_mean_of_networks_and_views(networks):
    given = image(20, 31)
    passes = [network.predict_images([np.flip(given, axes)])[0] for network in networks for axes in ((), 0, 1, (0, 1))]
    back = [np.flip(probabilities, axes) for probabilities, axes in zip(passes, ((), 0, 1, (0, 1)) * 2, strict=True)]
    ensemble = Ensemble(networks, "flips")
    masks, probabilities = ensemble.predict(given)
    np.testing.assert_allclose(probabilities, np.mean(back, 0), atol=1e-6)
    np.testing.assert_array_equal(masks, np.eye(3, dtype=bool)[probabilities.argmax(-1)][..., 1:])
    assert ensemble.num_members == 2 * 4 * 2
    assert ensemble.num_compiled == networks[0].num_compiled > 0


@pytest.mark.parametrize("name", ["", "flips", "all"])
@pytest.mark.parametrize("in_memory", [True, False])
def test_bands_are_the_whole(networks, name, in_memory, monkeypatch):
    if not in_memory:
        monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(scratch, "BAND_BYTES", 1000)
    ensemble, given = Ensemble(networks, name), image(17, 40)
    (expected,) = ensemble.predict_images([given])

    class FromDisk:
        """Rows that are not in memory."""

        shape, dtype = given.shape, given.dtype
        read = staticmethod(lambda start, stop: given[start:stop])

    for rows in (ArrayRows(given), FromDisk()):
        bands = list(ensemble.bands(rows))
        assert [start for start, _ in bands] == np.cumsum([0, *(len(band) for _, band in bands)])[:-1].tolist()
        assert len(bands) > 3
        np.testing.assert_allclose(np.concatenate([band for _, band in bands]), expected, atol=1e-6)


def test_members_are_networks_views_and_heads(networks):
    given = image(17, 16)
    ensemble = Ensemble([networks[0], dataclasses.replace(networks[1], mode="fast")], "flips")
    (expected,) = ensemble.predict_images([given])
    bands = list(ensemble.member_bands(ArrayRows(given)))
    assert [band.member for band in bands] == list(range(ensemble.num_members)) == list(range(2 * 4 + 4))
    assert [band.weight for band in bands] == [1 / 16] * 8 + [1 / 8] * 4
    total = sum(band.weight * band.view.invert(band.probabilities) for band in bands)
    np.testing.assert_allclose(total, expected, atol=1e-6)
    heads = np.stack([band.probabilities for band in bands[:2]])
    assert abs(heads[0] - heads[1]).max() > 1e-3


def test_networks_that_do_not_fit_are_refused():
    names = ("background", "anode", "cathode")

    def made(**fields):
        return Predictor(
            GreyLevels(activation=fields.pop("activation", "softmax")), {}, **({"class_names": names} | fields)
        )

    for fields, words in (
        (
            {"class_names": ("background", "cathode", "anode")},
            r"classes: background, anode, cathode in runs/a.*, anode in runs/b",
        ),
        ({"report_classes": ("anode",)}, r"eval\.classes: anode, cathode in runs/a.* anode in runs/b"),
        ({"channels": 3}, "channels of the images: 1 in runs/a, and 3 in runs/b"),
        ({"activation": "sigmoid"}, r"model\.activation: softmax in runs/a, and sigmoid in runs/b"),
        ({"normalize": "range"}, r"data\.normalize: image in runs/a, and range in runs/b"),
        ({"dtype": "uint16"}, "pixel type of the images: uint8 in runs/a, and uint16 in runs/b"),
    ):
        with pytest.raises(UserError, match=words):
            Ensemble([made(dtype="uint8"), made(**fields)], names=["runs/a", "runs/b"])
    assert Ensemble([made(), made(dtype="uint16")]).dtype == "uint16"
    with pytest.raises(UserError, match="no network"):
        Ensemble([])


def test_a_full_disk_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 0)

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(scratch.os, "posix_fallocate", refuse)
    with pytest.raises(UserError, match=r"1\.0 GiB .*No space left on device.*TMPDIR"):
        scratch.Scratch((1 << 30,), np.uint8)
