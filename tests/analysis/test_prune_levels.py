"""The choice of a level and of the images that are timed, without a run."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers.known_network import predictor as known_predictor

from unet_jax import models
from unet_jax.analysis.prune import levels
from unet_jax.errors import UserError
from unet_jax.runtime.program_cost import Cost


@pytest.mark.parametrize(
    ("iou", "drop", "level", "values"),
    [
        ((0.80, 0.896, 0.90), 0.5, 2, ("0.8960", "0.40 points below", "0.9000", "level 1 loses 10.00")),
        ((0.80, 0.894, 0.90), 0.5, 3, ("0.5 points", "level 2 loses 0.60")),
        ((0.80, 0.90, 0.90), 0, 2, ("0.00 points above",)),
        ((0.91, 0.80, 0.90), 0.5, 1, ("1.00 points above",)),
        ((float("nan"), 0.70, 0.90), 30, 2, ("level 1 loses nan",)),
        ((0.5,), 0.5, 1, ("0.5 points",)),
    ],
)
def test_choice_is_the_smallest_level_good_enough(iou, drop, level, values):
    chosen, reason = levels.choose(dict(enumerate(iou, 1)), drop)
    assert chosen == level
    assert [value for value in values if value not in reason] == [], reason


def test_without_a_score_nothing_is_chosen():
    with pytest.raises(UserError, match=r"eval\.classes"):
        levels.choose({1: 0.5, 2: float("nan")}, 0.5)


def test_other_networks_are_refused():
    with pytest.raises(UserError, match=r"UNet.*unet_pp.*model\.deep_supervision"):
        levels.deepest(models.build("unet", num_classes=2, widths=(4, 8)))
    with pytest.raises(UserError, match=r"model\.deep_supervision.*False.*True"):
        levels.deepest(models.build("unet_pp", num_classes=2, widths=(4, 8)))
    trained = models.build("unet_pp", num_classes=2, widths=(4, 8, 8, 8), deep_supervision=True, level=2)
    # A network that was pruned before.
    assert levels.deepest(trained) == 2


@pytest.mark.parametrize("depth", [3, 4])
def test_the_papers_speed_is_shown_for_the_papers_depth(monkeypatch, depth):
    like = SimpleNamespace(module=SimpleNamespace(depth=depth), variables={"params": {"x": np.zeros(3)}})
    keys = [(level, mode) for level in range(1, depth + 1) for mode in ("accurate", "fast")]
    monkeypatch.setattr(levels, "create_program", lambda *_: (Cost(1.0, 2, 3, 4), lambda image: None))
    monkeypatch.setattr(levels, "in_turns", lambda runs, rounds: {key: [key[0] / 100] * rounds for key in runs})
    measured = levels.measure(dict.fromkeys(keys, like), [np.zeros((8, 8, 1))], 3, None)
    assert measured[1, "fast"] | {"paper_faster": 0} == {
        "parameters": 3,
        "flops": 1.0,
        "temporary_bytes": 2,
        "argument_bytes": 3,
        "output_bytes": 4,
        "peak_bytes": 9,
        "p50_ms": 10.0,
        "p95_ms": 10.0,
        "faster": pytest.approx(depth),
        "paper_faster": 0,
    }
    paper = [measured[level, "fast"]["paper_faster"] for level in range(1, depth + 1)]
    assert paper == ([3.5, 2.4, 1.5, 1.0] if depth == 4 else [None] * 3)
    assert all(measured[level, "accurate"]["paper_faster"] is None for level in range(1, depth + 1))


def test_the_commonest_padded_size_is_timed():
    sizes = [(10, 10), (20, 30), (30, 20), (20, 20), (16, 16), (31, 18)]
    source = [{"image": np.full((*size, 1), index, np.uint8)} for index, size in enumerate(sizes)]
    # Padded to multiples of 16.
    images, number = levels.timing_images(source, known_predictor(), 2)
    assert number == 4
    assert [image.shape for image in images] == [(32, 32, 1)] * 2
