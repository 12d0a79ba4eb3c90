"""How an image is cut: never into parts that take more than the budget, and what is said to be enough is."""

import math
import re
import weakref

import jax
import numpy as np
import pytest
from helpers.large_images import trained

from unet_jax.inference.forward import forward
from unet_jax.inference.large import blended, streamed
from unet_jax.inference.large.streamed import Streamed
from unet_jax.runtime.out_of_memory import OutOfMemory

SHAPE = (400, 2048, 1)


@pytest.fixture(scope="module")
def parts():
    """Returns a network, its parts by the number of devices, and its variables; what was compiled is shared."""
    module, variables = trained("unet", widths=(8, 8))
    return {number: Streamed(module, "accurate", 1, jax.local_devices()[:number]) for number in (1, 4)}, variables


def planned(part, variables, chosen):
    number = min(len(part._devices), chosen.strips)
    return number * streamed._planned(
        part._stream(forward, streamed._shapes(variables), (chosen.rows, chosen.width, 1), number)
    )


@pytest.mark.parametrize("number", [1, 4])
def test_a_cut_keeps_to_the_budget_and_less_memory_gives_smaller_parts(parts, number):
    part, variables = parts[0][number], parts[1]
    largest = part.choose(forward, variables, SHAPE, np.inf)
    most = planned(part, variables, largest)
    last = most
    for share in (1, 0.6, 0.2):
        chosen = part.choose(forward, variables, SHAPE, share * most)
        size = planned(part, variables, chosen)
        assert size <= share * most
        assert size <= last
        last = size
    assert last < most / 2
    # What the caller keeps counts.
    assert part.choose(forward, variables, SHAPE, most + 1000, 1000) == largest
    assert part.choose(forward, variables, SHAPE, most + 1000, 1001) != largest


@pytest.mark.parametrize("number", [1, 4])
@pytest.mark.parametrize("held", [0, 5000])
def test_the_memory_that_is_asked_for_is_enough(parts, number, held, monkeypatch):
    monkeypatch.setattr(blended, "to_text", lambda size, up=False: f"{math.ceil(size)}B")
    part, variables = parts[0][number], parts[1]
    with pytest.raises(
        OutOfMemory, match=r"^memory 1000B: the smallest part of an image of 400 x 2048 pixels"
    ) as error:
        part.choose(forward, variables, SHAPE, 1000, held)
    assert "\n" not in str(error.value)
    asked = int(re.search(r"takes (\d+)B; give at least that$", str(error.value))[1])
    chosen = part.choose(forward, variables, SHAPE, asked, held)
    assert planned(part, variables, chosen) + held <= asked
    with pytest.raises(OutOfMemory, match=f"takes {asked}B"):
        part.choose(forward, variables, SHAPE, asked - 1, held)


def test_many_strips_say_that_they_take_longer(parts, capsys, monkeypatch):
    monkeypatch.setattr(streamed, "MANY_TIMES", 1.05)
    part, variables = parts[0][1], parts[1]
    part._cut.cache_clear()
    part.choose(forward, variables, SHAPE, 2 << 20)
    assert re.search(r"400 x 2048 pixels is predicted in \d+ strips of \d+ columns, which", capsys.readouterr().err)


def test_images_of_many_widths_keep_few_programs(monkeypatch):
    alive = weakref.WeakSet()

    class Uncompiled:
        def __init__(self, *_):
            alive.add(self)

    monkeypatch.setattr(streamed, "Stream", Uncompiled)
    monkeypatch.setattr(streamed, "_planned", lambda stream: 0)
    module, variables = trained("unet", widths=(8, 8))
    part = Streamed(module, "accurate", 1, jax.local_devices()[:1])
    for width in range(64, 64 + 2 * 200, 2):
        chosen = part.choose(forward, variables, (400, width, 1), np.inf)
        assert chosen.width == width
    assert part.num_compiled == 200
    assert 1 <= len(alive) <= 16
    # The last one is still there.
    part.choose(forward, variables, (300, width, 1), np.inf)
    assert part.num_compiled == 200
