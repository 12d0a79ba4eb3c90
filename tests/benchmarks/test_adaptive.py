"""Levels chosen tile by tile: what is computed for a tolerance, and the table."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import adaptive, members
from unet_jax.evaluation.jackknife import LeftOut
from unet_jax.inference.segmenter import MemberBand
from unet_jax.inference.views import IDENTITY


class FakeSegmenter:
    """Two heads of two classes. The first one is certain of the left half, and right there; the second one is right."""

    activation, report_channels, num_members = "softmax", [1], 2

    def __init__(self, mask):
        shallow = np.where(np.arange(mask.shape[1]) < 32, mask.astype(np.float32), 0.45)
        self.heads = [np.stack([1 - head, head], -1).astype(np.float32) for head in (shallow, mask.astype(np.float32))]

    def member_bands(self, rows):
        for start in (0, 16):
            for member, head in enumerate(self.heads):
                yield MemberBand(member, 0.5, IDENTITY, start, head[start : start + 16])


@pytest.fixture
def example():
    mask = np.zeros((32, 64), np.uint8)
    mask[8:24, 20:50] = 1
    return {"image": np.zeros((32, 64, 1), np.uint8), "mask": mask}


def test_only_uncertain_tiles_run_the_next_level(example, monkeypatch):
    monkeypatch.setattr(adaptive, "TOLERANCES", (0.0, 0.5, 1.0))
    counted, shares, pixels = adaptive.of_image(FakeSegmenter(example["mask"]), example, halos=(1, 4))
    assert pixels == 32 * 64
    # Level 1 everywhere; level 2 on the right half, and with its halo of 4 columns.
    assert shares[0].tolist() == [[1, 0.5], [1, 0.5], [1, 0]]
    assert shares[1].tolist() == [[1, 36 / 64], [1, 36 / 64], [1, 0]]
    found = [int(count["tp"][0]) for count in counted]
    # The levels, the mean of the heads, and the three tolerances; the object has 12 columns on the left and 18 on the right.
    assert found == [16 * 12, 16 * 30, 16 * 30, 16 * 30, 16 * 30, 16 * 12]


def test_means_of_tiles_at_the_border_are_over_their_pixels():
    values = np.zeros((20, 18))
    values[16:, :16], values[16:, 16:] = 2, 3
    means = adaptive.mean_of_tiles(values)
    assert means.shape == values.shape
    assert (means == values).all()


def _scores(value):
    """Two runs with the same score on each of three images."""
    return LeftOut(np.full(2, value), np.full((3, 2), value), np.full(3, 1 / 3))


def test_the_table_tells_what_is_reached_in_a_part_of_the_time():
    curve = adaptive.Curve(
        data="`electrodes`, 32",
        level_time=[0.2, 0.5, 1.0],
        bound=[1.0, 0.55, 0.2],
        with_halo=[1.0, 0.7, 0.2],
        levels=[_scores(0.7), _scores(0.8), _scores(0.9)],
        adaptive=[_scores(0.9), _scores(0.85), _scores(0.7)],
        heads=_scores(0.85),
    )
    cells = adaptive.table([curve]).splitlines()[-1].strip("| ").split(" | ")
    assert cells == [
        "`electrodes`, 32",
        "L3",
        "0.900",
        "1.00",
        "L2",
        "0.800",
        "0.850",
        "-0.050 (-0.050 to -0.050)",
        "0.700",
    ]


def test_a_run_gives_a_curve_and_a_picture(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(members, "ROUNDS", 1)
    monkeypatch.setattr(members, "TIMED_IMAGES", 1)
    folders = {"electrodes": [Path(trained[0])]}
    curve = adaptive.measure("electrodes", folders["electrodes"])
    assert curve.level_time[-1] == 1
    # With tolerance 0 nothing stops, with tolerance 1 everything does.
    assert curve.bound[0] == pytest.approx(1)
    assert curve.bound[-1] == pytest.approx(curve.level_time[0])
    assert curve.adaptive[0].mean() == pytest.approx(curve.levels[-1].mean())
    assert curve.adaptive[-1].mean() == pytest.approx(curve.levels[0].mean())
    assert all(bound <= halo + 1e-9 for bound, halo in zip(curve.bound, curve.with_halo, strict=True))
    adaptive.draw([curve], tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
