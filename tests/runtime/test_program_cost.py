"""The cost of a compiled program, and timing programs in turn."""

import time

import jax
import jax.numpy as jnp
import pytest

from unet_jax.runtime.program_cost import Cost, in_turns


def test_a_matrix_product_costs_what_it_is():
    like = jax.ShapeDtypeStruct((32, 32), jnp.float32)
    cost = Cost.of(jax.jit(lambda a, b: a @ b).lower(like, like).compile())
    assert cost.flops == pytest.approx(2 * 32**3, rel=0.05)
    assert (cost.argument, cost.output) == (2 * 32 * 32 * 4, 32 * 32 * 4)
    assert cost.peak == cost.temporary + 3 * 32 * 32 * 4
    assert cost.moved == pytest.approx(3 * 32 * 32 * 4, rel=0.05)


def test_what_is_written_over_an_argument_is_held_once():
    like = jax.ShapeDtypeStruct((32, 32), jnp.float32)
    cost = Cost.of(jax.jit(lambda a: a + 1, donate_argnums=0).lower(like).compile())
    assert cost.aliased == 32 * 32 * 4
    assert cost.peak == cost.temporary + 32 * 32 * 4


def test_each_has_its_turn_after_one_to_warm_up():
    turns = []

    def run(name, seconds):
        return lambda number: (turns.append((name, number)), time.sleep(seconds))

    seconds = in_turns({"a": run("a", 0.001), "b": run("b", 0.02)}, rounds=3)
    assert turns == [("a", 0), ("b", 0)] + [(name, number) for number in range(3) for name in "ab"]
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3}
    assert min(seconds["b"]) >= 0.02 > min(seconds["a"])
