"""The search for the largest batch that fits, with made-up memory."""

import pytest
from helpers.made_up_programs import made_up

from unet_jax.analysis.plan import fit
from unet_jax.analysis.plan.compile import Program
from unet_jax.errors import UserError


def largest(compile_batch, begin, capacity=100.0, unit=1, say=print):
    return fit.find_largest_batch(compile_batch, begin, capacity, unit, say)


@pytest.mark.parametrize(
    ("peak", "begin", "batch", "compiled"),
    [
        # A line.
        (lambda b: 10 + 3 * b, 8, 30, [8, 4, 30]),
        # The first batch does not fit.
        (lambda b: 10 + 3 * b, 64, 30, [64, 1, 2, 30]),
        (lambda b: 10 + 3 * b, 1, 30, [1, 1, 2, 30]),
        # Flat, then too many.
        (lambda b: 40 + (b > 20) * 100, 8, 20, [8, 4, 20, 50, 38, 29, 24, 22]),
        # Tiles of 128, filled with zeros.
        (lambda b: 12.5 * -(-b // 128), 2, 1024, [2, 1, 16, 128, 1024]),
        # The compiler's plan changes at 301.
        (lambda b: b / 10 + (b > 300) * 1000, 2, 297, [2, 1, 128, 999, 197, 598, 397, 297, 347, 322, 309]),
        # Small batches take more memory per image.
        (lambda b: min(10 * b, 50 + b), 4, 50, [4, 2, 10, 22, 50]),
        (lambda b: 60 * b, 4, 1, [4, 1, 2]),
    ],
)
def test_the_largest_batch_is_compiled(peak, begin, batch, compiled):
    asked = []
    program = largest(lambda b: asked.append(b) or made_up(peak(b), b), begin)
    assert (program.batch, asked) == (batch, compiled)


def test_a_batch_that_does_not_fit_after_all_is_lowered():
    asked = []
    program = largest(lambda b: asked.append(b) or made_up(10 + b * b, b), 4)
    assert (program.batch, asked[2] > 9) == (9, True)
    # In whole micro-batches.
    for begin, batch in ((8, 28), (4, 28), (64, 28)):
        asked = []
        program = largest(lambda b: asked.append(b) or made_up(10 + 3 * b, b), begin, unit=4)  # noqa: B023
        assert program.batch == batch
        assert all(b % 4 == 0 for b in asked)
    asked = []
    assert largest(lambda b: asked.append(b) or made_up(40 + (b > 20) * 100, b), 8, unit=4).batch == 20
    assert sorted(set(asked)) == sorted(asked)
    # The compiler gives no number of bytes: the next batch is half way to the largest that fits.
    known = largest(lambda b: made_up(2 * b, b) if b < 30 else Program(b, None), 8)
    assert known.batch == 29
    # A line that hardly rises leads to LEAP times the batch at most, and not to a batch that failed before.
    asked = []

    def tiles(batch):
        asked.append(batch)
        peak = 12.5 * -(-batch // 128) + 1e-4 * batch
        return made_up(peak, batch) if peak < 100 else Program(batch, None)

    assert largest(tiles, 2).batch == 884
    assert asked[2:4] == [128, 64 * 128]
    asked = []
    largest(lambda b: asked.append(b) or made_up(10 + b / 1000 if b < 3 else 10 + 3 * b, b), 64)
    assert asked[:4] == [64, 1, 2, 63]


def test_a_search_that_stops_early_prints_a_message(monkeypatch):
    monkeypatch.setattr(fit, "ATTEMPTS", 2)
    messages = []
    program = largest(lambda b: made_up(min(10 * b, 50 + b), b), 4, say=messages.append)
    assert program.batch == 22
    (message,) = messages
    assert "22" in message


def test_nothing_fits():
    with pytest.raises(UserError, match=r"1 image .*2 GB.*1 GB.*data\.patch"):
        largest(lambda b: made_up(2e9 * b, b), 8, 1e9)
    with pytest.raises(UserError, match=r"4 images .*8 GB.*1 GB.*data\.patch"):
        largest(lambda b: made_up(2e9 * b, b), 8, 1e9, unit=4)
    with pytest.raises(UserError, match=r"1 image .*compiler.*1 GB.*data\.patch"):
        largest(lambda b: Program(b, None), 8, 1e9)
