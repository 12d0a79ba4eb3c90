"""Scores of a split whose images do not fit into the memory that a prediction may take."""

import jax
import numpy as np
import pytest
from helpers.known_network import NAMES

from unet_jax import models
from unet_jax.data.loading import eval_pipeline
from unet_jax.evaluation import evaluate as module
from unet_jax.evaluation.evaluate import evaluate
from unet_jax.inference.ensemble import Ensemble
from unet_jax.inference.large import scratch
from unet_jax.inference.predictor import Predictor
from unet_jax.runtime.out_of_memory import OutOfMemory

SIZES = ((150, 130), (140, 130), (20, 30))


def network(memory="", **options):
    built = models.build("unet", num_classes=3, widths=(4, 8), **options)
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(built.init, jax.random.key(0), np.zeros((1, 16, 16, 1)))
    variables = jax.tree.map(lambda x: 0.2 * rng.standard_normal(x.shape, np.float32), shapes)
    return Predictor(built, variables, NAMES, pad_multiple=16, devices=jax.local_devices()[:1], memory=memory)


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(1)
    return [
        {"image": rng.integers(0, 255, (*size, 1), np.uint8), "mask": mask, "id": f"x{number}"}
        for number, size in enumerate(SIZES)
        for mask in [np.where(rng.random(size) < 0.1, 255, rng.integers(0, 3, size)).astype(np.uint8)]
    ]


def scored(predictor, made, **options):
    seen = {}
    summary, rows = evaluate(
        predictor, made, batch_size=8, on_image=lambda id_, masks, ids: seen.update({id_: (masks, ids)}), **options
    )
    return {key: value for key, value in summary.items() if "/" in key and "per_s" not in key}, rows, seen


@pytest.fixture(scope="module")
def whole(made):
    return scored(network(), made)


def check_equal(result, expected):
    assert result[0] == pytest.approx(expected[0], nan_ok=True)
    assert [row["tp/anode"] for row in result[1]] == [row["tp/anode"] for row in expected[1]]
    for id_, (masks, ids) in expected[2].items():
        np.testing.assert_array_equal(result[2][id_][0], masks)
        np.testing.assert_array_equal(result[2][id_][1], ids)


def test_larger_images_are_scored_in_bands(made, whole, monkeypatch):
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 100)
    batches, run = [], Predictor.run
    monkeypatch.setattr(
        Predictor, "run", lambda self, fn, batch, *a: batches.append(batch["image"].shape) or run(self, fn, batch, *a)
    )
    predictor = network("2MiB")
    check_equal(scored(predictor, made), whole)
    # Only the small one is padded and stacked.
    assert batches == [(1, 32, 32, 1)]
    assert [(part["height"], part["width"], part["approximate"]) for part in predictor.parts] == [
        (*SIZES[0], False), (*SIZES[1], False),
    ]  # fmt: skip
    assert predictor.parts[0].keys() >= {"band_rows", "strip_width", "strips"}


def test_an_image_whose_plan_does_not_fit_is_scored_in_bands(made, whole, monkeypatch):
    monkeypatch.setattr(module, "BATCH_SHARE", 0.9)
    predictor = network("4MiB")
    check_equal(scored(predictor, made), whole)
    assert len(predictor.parts) == 2


def test_an_ensemble_is_scored_in_bands(made, whole):
    predictor = Ensemble([network("2MiB")])
    check_equal(scored(predictor, made), whole)
    assert [(part["network"], part["height"]) for part in predictor.parts] == [(0, SIZES[0][0]), (0, SIZES[1][0])]


def test_batches_stay_within_the_memory():
    images = [{"image": np.zeros((40, 40, 1)), "mask": np.zeros((40, 40))}] * 10

    def rows(most_pixels, multiple=1, **options):
        plan = eval_pipeline.eval_plan(
            images, batch_size=8, pad_multiple=64, multiple=multiple, most_pixels=most_pixels, **options
        )
        return [len(indices) for _, indices in plan]

    assert rows(8 * 64**2) == [5, 5]
    assert rows(4 * 64**2) == [4, 4, 4]
    assert rows(4 * 64**2 - 1, multiple=2) == [2] * 5
    assert rows(1, multiple=2) == [2] * 5
    assert rows(8 * 64**2, leave_out=[0, 3]) == [8]


def test_fewer_images_share_a_batch(made, monkeypatch):
    batches, run = [], Predictor.run
    monkeypatch.setattr(
        Predictor, "run", lambda self, fn, batch, *a: batches.append(batch["image"].shape) or run(self, fn, batch, *a)
    )
    small = [made[2] | {"id": id_} for id_ in ("a", "b", "c")]
    # A row of a batch takes 53 bytes for each of 32 x 32 pixels, and a batch may take a quarter.
    predictor = network(2 * 4 * 53 * 32 * 32)
    assert len(scored(predictor, small)[1]) == 3
    assert batches == [(2, 32, 32, 1)] * 2
    assert predictor.parts == []


def test_too_little_memory_is_one_line_that_says_what_is_enough(made):
    with pytest.raises(
        OutOfMemory, match=r"^image x0: memory 9KiB: .* 160 x 144 pixels, .* takes \d+KiB; give at least"
    ):
        scored(network("9KiB"), made)
    # A network that reads the whole map.
    with pytest.raises(OutOfMemory, match=r"^image x0: memory 400KiB: .* 160 x 144 .*KiB; give at least") as error:
        scored(network("400KiB", norm="group"), made)
    enough = str(error.value).split("takes ")[1].split(";")[0]
    predictor = network(enough, norm="group")
    assert scored(predictor, made[:1])[1][0]["height"] == SIZES[0][0]
    assert [(part["approximate"], "tile" in part) for part in predictor.parts] == [(True, True)]
