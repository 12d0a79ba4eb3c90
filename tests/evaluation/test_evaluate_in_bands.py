"""Scores do not depend on the memory: an image that is scored in bands has the counts of the whole."""

import jax
import numpy as np
import pytest
from helpers.large_images import count_pixels, trained

from unet_jax.evaluation.evaluate import evaluate
from unet_jax.inference.predictor import Predictor

NAMES = ("a", "b", "c")


def examples(sizes=((37, 61), (20, 30), (1, 40), (37, 61))):
    rng = np.random.default_rng(0)
    made = []
    for number, (height, width) in enumerate(sizes):
        mask = rng.integers(0, 3, (height, width)).astype(np.uint8)
        mask[0, :5] = 255
        made.append(
            {"image": rng.integers(0, 250, (height, width, 1)).astype(np.uint8), "mask": mask, "id": f"x{number}"}
        )
    return made


@pytest.mark.parametrize(
    ("options", "pad_multiple"),
    [({"widths": (2, 3, 4)}, 3), ({"widths": (2, 3), "padding": "valid", "activation": "sigmoid"}, 4)],
)
@pytest.mark.parametrize("with_masks", [False, True])
def test_scores_in_bands_are_those_of_the_whole(options, pad_multiple, with_masks, monkeypatch):
    count_pixels(monkeypatch)
    module, variables = trained("unet", **options)
    found = []
    for memory in (2**40, 20_000):
        predictor = Predictor(
            module, variables, NAMES, memory=memory, pad_multiple=pad_multiple, devices=jax.local_devices()[:2]
        )
        seen = {}
        on_image = (lambda id_, masks, ids: seen.update({id_: (masks, ids)})) if with_masks else None  # noqa: B023
        summary, rows = evaluate(predictor, examples(), batch_size=2, on_image=on_image)
        found.append((rows, seen, {key: value for key, value in summary.items() if "/" in key}))
        assert predictor.may_fit(37, 61) == (memory > 20_000)
    (whole, whole_seen, whole_summary), (bands, bands_seen, bands_summary) = found
    # A class that an image lacks has no score.
    np.testing.assert_equal(bands, whole)
    np.testing.assert_equal(bands_summary, whole_summary)
    assert set(bands_seen) == set(whole_seen)
    assert len(bands_seen) == (4 if with_masks else 0)
    for id_, (masks, ids) in bands_seen.items():
        np.testing.assert_array_equal(masks, whole_seen[id_][0])
        np.testing.assert_array_equal(ids, whole_seen[id_][1])
