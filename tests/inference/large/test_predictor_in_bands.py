"""A predictor with little memory gives what one with much memory gives: every interface, any size, any number of devices."""

import functools
import threading

import jax
import numpy as np
import pytest
from helpers.large_images import ROUNDING, count_pixels, join, trained

from unet_jax.data.datasets.image_rows import ArrayRows
from unet_jax.inference.ensemble import Ensemble
from unet_jax.inference.large.streamed import Streamed
from unet_jax.inference.predictor import Predictor
from unet_jax.segmentation import to_masks

NAMES = ("a", "b", "c")
# Pairs, which can be cached.
UNET_PP = (("widths", (2, 3, 4)), ("deep_supervision", True), ("norm", "batch"), ("activation", "sigmoid"))
MUCH = 2**40
SIZE = (37, 301)
# The bytes of its probabilities, which `predict` keeps.
RESULT = 37 * 301 * 3 * 4
# Of a padded image of 40 x 304: one strip in bands of 8 rows, of 4 rows, and strips that wait for the last ones.
BUDGETS = {8 * 304: (8, 1), 4 * 304: (4, 1), 400: (4, 6)}


@pytest.fixture(autouse=True)
def _pixels(monkeypatch):
    count_pixels(monkeypatch)


def draw(height, width, channels=1, dtype="uint8", seed=0):
    image = np.random.default_rng(seed).integers(0, 250, (height, width, channels))
    return (image / 250 if dtype == "float32" else image).astype(dtype)


@functools.cache
def make(memory, devices=1, network="unet_pp", channels=1, options=UNET_PP, **fields):
    module, variables = trained(network, channels, **dict(options))
    fields = {"pad_multiple": 4, "channels": channels} | fields
    return Predictor(module, variables, NAMES, memory=memory, devices=jax.local_devices()[:devices], **fields)


@functools.cache
def expected(height=SIZE[0], width=SIZE[1], seed=0):
    return make(MUCH).predict_images([draw(height, width, seed=seed)])[0]


def close(probabilities, whole, atol=ROUNDING):
    assert probabilities.dtype == np.float32
    assert probabilities.shape == whole.shape
    np.testing.assert_allclose(probabilities, whole, rtol=0, atol=atol)


@pytest.mark.parametrize("memory", BUDGETS)
def test_the_budget_changes_no_probability(memory, monkeypatch):
    cuts, choose = [], Streamed.choose

    def recorded(self, *arguments):
        cuts.append(choose(self, *arguments))
        return cuts[-1]

    monkeypatch.setattr(Streamed, "choose", recorded)
    (probabilities,) = join(make(memory).bands(ArrayRows(draw(*SIZE))))
    assert {(chosen.rows, chosen.strips) for chosen in cuts} == {BUDGETS[memory]}
    close(probabilities, expected())


@pytest.mark.parametrize("memory", [8 * 304 * 4, 1600])
def test_four_devices_share_the_strips(memory):
    (probabilities,) = join(make(memory, 4).bands(ArrayRows(draw(*SIZE))))
    close(probabilities, expected())


# On four devices, a narrow image has no strips to share.
@pytest.mark.parametrize(("size", "devices"), [((70, 33), 4), ((1, 90), 1), ((90, 1), 1), ((1, 1), 4), ((5, 3), 1)])
def test_an_image_of_any_size(size, devices):
    (probabilities,) = join(make(400, devices).bands(ArrayRows(draw(*size))))
    close(probabilities, expected(*size))


def test_masks_and_ids_are_those_of_the_whole_where_the_two_best_classes_differ():
    masks, ids = join(make(8 * 304).mask_bands(ArrayRows(draw(*SIZE))))
    whole_masks, whole_ids = to_masks(expected(), "sigmoid")
    assert (masks.dtype, ids.dtype, masks.shape, ids.shape) == (bool, np.uint8, (*SIZE, 3), SIZE)
    second, best = np.sort(expected(), -1)[..., -2:].transpose(2, 0, 1)
    assert (ids == whole_ids)[best - second > 1e-4].all()
    assert (masks == whole_masks)[abs(expected() - 0.5) > 1e-4].all()
    assert len(np.unique(ids)) == 3


def test_heads_add_up_to_the_whole():
    members = {0: [], 1: []}
    for band in make(400).member_bands(ArrayRows(draw(*SIZE))):
        assert band.weight == 0.5
        members[band.member].append((band.start, band.probabilities))
    heads = [join(bands)[0] for bands in members.values()]
    assert abs(heads[0] - heads[1]).max() > 0.01
    close((heads[0] + heads[1]) / 2, expected())


def test_images_of_several_sizes_some_of_them_large(monkeypatch):
    predictor = make(4 * 304 + RESULT)
    small = Predictor.may_fit
    monkeypatch.setattr(Predictor, "may_fit", lambda self, height, width: width < 300 or small(self, height, width))
    # What is small is computed whole, in batches.
    monkeypatch.setattr("unet_jax.inference.program.check_within", lambda *_: None)
    sizes = [SIZE, (5, 3), (9, 301), (6, 4), SIZE]
    images = [draw(*size, seed=seed) for seed, size in enumerate(sizes)]
    for seed, result in enumerate(predictor.predict_images(images, batch_size=2)):
        close(result, expected(*sizes[seed], seed=seed))


def test_predict_and_an_ensemble_take_the_same_way():
    image = draw(*SIZE)
    masks, probabilities = make(8 * 304 + RESULT).predict(image)
    close(probabilities, expected())
    np.testing.assert_array_equal(masks, to_masks(probabilities, "sigmoid")[0][..., 1:])
    ensembles = [Ensemble([make(memory), make(memory, level=1)], views="flips") for memory in (8 * 304 + RESULT, MUCH)]
    (streamed,), whole = join(ensembles[0].bands(ArrayRows(image))), ensembles[1].predict_images([image])[0]
    close(streamed, whole)
    close(ensembles[0].predict_images([image])[0], whole)


@pytest.mark.parametrize(
    ("network", "options", "fields"),
    [
        # The network pads more than the predictor.
        ("unet_pp", {"widths": (2, 3, 4)}, {"pad_multiple": 3}),
        ("unet", {"widths": (2, 3), "padding": "valid"}, {"pad_multiple": 5}),
        ("unet", {"widths": (2, 3)}, {"channels": 3, "dtype": "uint16", "normalize": "range"}),
        ("fcn", {"widths": (2, 2, 2, 2, 2, 2)}, {"pad_multiple": 1}),
    ],
)
def test_other_networks_and_images(network, options, fields):
    dtype = fields.get("dtype", "float32")
    image = draw(27, 75, fields.get("channels", 1), dtype)
    streamed, whole = (make(memory, 1, network, options=tuple(options.items()), **fields) for memory in (3000, MUCH))
    (probabilities,) = join(streamed.bands(ArrayRows(image)))
    close(probabilities, whole.predict_images([image])[0])


def test_bfloat16_keeps_its_own_precision():
    options = tuple({"widths": (2, 3, 4), "dtype": "bfloat16"}.items())
    image = draw(40, 60)
    streamed, whole = (make(memory, options=options) for memory in (8 * 60, MUCH))
    (probabilities,) = join(streamed.bands(ArrayRows(image)))
    close(probabilities, whole.predict_images([image])[0], atol=2**-7)


def test_a_prediction_that_is_left_half_way_leaves_nothing():
    predictor, image = make(400), ArrayRows(draw(*SIZE))
    for _ in range(2):
        bands = predictor.bands(image)
        close(next(bands)[1], expected()[: len(next(predictor.bands(image))[1])])
        bands.close()
    # Two at a time, in turns.
    one, other = predictor.bands(image), predictor.bands(ArrayRows(draw(*SIZE, seed=1)))
    pairs = list(zip(one, other, strict=True))
    close(join(pair[0] for pair in pairs)[0], expected())
    close(join(pair[1] for pair in pairs)[0], expected(seed=1))


def test_equal_networks_share_what_is_compiled_and_keep_their_variables():
    first = make(8 * 304)
    list(first.bands(ArrayRows(draw(*SIZE))))
    number = first.num_compiled
    variables = jax.tree.map(lambda x: 1.1 * x, first.variables)
    other, whole = (
        Predictor(first.module, variables, NAMES, memory=memory, pad_multiple=4, devices=first.devices)
        for memory in (8 * 304, MUCH)
    )
    results = {}

    def predict(name, predictor):
        (results[name],) = join(predictor.bands(ArrayRows(draw(*SIZE))))

    threads = [threading.Thread(target=predict, args=pair) for pair in (("first", first), ("other", other))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert other.num_compiled == first.num_compiled == number
    close(results["first"], expected())
    close(results["other"], whole.predict_images([draw(*SIZE)])[0])
    assert abs(results["first"] - results["other"]).max() > 0.01
