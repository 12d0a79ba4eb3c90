"""Placing, splitting and gathering arrays on one, two and four devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unet_jax.errors import UserError
from unet_jax.runtime import parallel


@pytest.mark.parametrize("num_devices", [1, 2, 4])
def test_predict_gathers_rows_in_order(num_devices):
    devices = jax.local_devices()[:num_devices]
    predict = parallel.HostForward(lambda w, batch: {"y": w * batch["x"]}, devices)
    x = np.arange(24.0, dtype=np.float32).reshape(8, 3)
    out = predict(parallel.replicate(jnp.float32(2), devices), {"x": x})["y"]
    assert isinstance(out, np.ndarray)
    np.testing.assert_array_equal(out, 2 * x)


def test_replicate_is_a_copy_that_a_donating_step_may_overwrite():
    tree = {"w": jnp.ones(3), "v": np.ones(3, np.float32)}
    placed = parallel.replicate(tree)
    assert all(len(leaf.addressable_shards) == 4 for leaf in jax.tree.leaves(placed))
    before = parallel.to_host(placed)
    step = parallel.pmap_step(
        lambda state, batch: (jax.tree.map(lambda x: x + 1, state), jax.lax.psum(batch.sum(), "batch"))
    )
    after, total = step(placed, parallel.shard(np.ones((8, 2), np.float32)))
    assert total == 16
    for host in (tree, before):
        jax.tree.map(lambda x: np.testing.assert_array_equal(x, np.ones(3)), host)
    jax.tree.map(lambda x: np.testing.assert_array_equal(x, 2 * np.ones(3)), parallel.to_host(after))


@pytest.mark.parametrize("batch_size", [0, 2, 6])
def test_batch_must_divide(batch_size):
    with pytest.raises(UserError, match=rf"train\.batch_size: .*\b{batch_size} .* 4 devices .*multiple of 4"):
        parallel.check_batch_size(batch_size)
    parallel.check_batch_size(8)
    parallel.check_batch_size(6, jax.local_devices()[:2])


def test_a_step_is_compiled_with_the_options_of_cpus(monkeypatch):
    seen = []
    compile_ = jax.stages.Lowered.compile

    def spy(self, compiler_options=None):
        seen.append(compiler_options)
        return compile_(self, compiler_options)

    monkeypatch.setattr(jax.stages.Lowered, "compile", spy)
    step = parallel.pmap_step(lambda state, batch: (state + 1, jax.lax.psum(batch.sum(), parallel.AXIS)))
    state, batch = parallel.replicate(jnp.float32(1)), parallel.shard(np.ones((4, 2), np.float32))
    monkeypatch.delenv("XLA_FLAGS")
    assert parallel.compile_step(step, state, batch)(state, batch)[1] == 8
    # This release of XLA knows the options.
    assert seen == [parallel.CPU_STEP_OPTIONS]
    seen.clear()
    # The user's choice takes precedence.
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_experimental_ynn_fusion_type=")
    parallel.compile_step(step, parallel.replicate(jnp.float32(1)), batch)
    assert seen == [None]
    monkeypatch.delenv("XLA_FLAGS")
    monkeypatch.setattr(parallel, "CPU_STEP_OPTIONS", {"xla_cpu_no_such_option": "1"})
    # Another release may not know them.
    parallel.compile_step(step, parallel.replicate(jnp.float32(1)), batch)
