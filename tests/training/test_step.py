"""The pmapped step: the same global batch gives the same numbers on 1, 2 and 4 devices, and the loss falls.

On 8: XLA_FLAGS=--xla_force_host_platform_device_count=8 .venv/bin/python -m pytest -n 0 tests/training/test_step.py -k devices
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.training_steps import AUGMENT, OFF, make_batch, make_step, run, run_compiled

from unet_jax import models
from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.data.augment.augment import augment_batch
from unet_jax.runtime import parallel
from unet_jax.training.losses.registry import create_loss
from unet_jax.training.optim.optimizer import create_optimizer
from unet_jax.training.state import create_state
from unet_jax.training.step import create_train_step

# Without optimisation, XLA may compute a pooled map twice; gradients were once NaN for that reason.


# A sum of each kind through a network; the weighted sum is tested below. test_losses.py tests each loss alone.
@pytest.mark.parametrize("loss_name", ["bce_dice", "weighted_cross_entropy"])
def test_n_devices_equal_one(loss_name):
    """One step of SGD with rate 1: parameters before minus after are the gradient of the global batch."""
    step, state = make_step(loss_name, AUGMENT, learning_rate=1.0, dropout=0.2)
    results = {n: run(step, state, make_batch(), n) for n in (1, 4)}
    gradients = {n: optax.tree.sub(state.params, parallel.to_host(after.params)) for n, (after, _) in results.items()}
    largest = max(float(abs(leaf).max()) for leaf in jax.tree.leaves(gradients[1]))
    assert largest > 1e-2
    for kind, one, other in (
        ("gradient", gradients[1], gradients[4]),
        ("statistics", results[1][0].batch_stats, results[4][0].batch_stats),
        ("metrics", results[1][1], results[4][1]),
    ):
        one, other = parallel.to_host(one), parallel.to_host(other)
        jax.tree.map(
            lambda a, b, kind=kind: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5 * largest, err_msg=kind),
            one,
            other,
        )


COUNTS = [n for n in (1, 2, 4, 8) if n <= jax.local_device_count()]
assert len(COUNTS) > 1, "with one device there is nothing to compare"


@pytest.fixture(scope="module")
def plain_step():
    """Returns a step on images as they are, in float32, and the state before it; compiled once."""
    return make_step("dice", OFF)


@pytest.fixture(scope="module")
def trainer():
    """Returns `train(n, state, num_steps)` on n devices, with BatchNorm, dropout and unequal valid pixels; and the first state."""
    step, state = make_step("weighted sum", AUGMENT, dropout=0.2)
    on = {n: jax.local_devices()[:n] for n in COUNTS}
    p_steps, batch = {n: parallel.pmap_step(step, on[n]) for n in COUNTS}, make_batch(rows=8)

    def train(n, state, num_steps):
        return run_compiled(p_steps[n], state, batch, on[n], num_steps)

    return train, state


def test_n_devices_equal_one_after_twenty_steps(trainer):
    """Sums are added in another order, so a value near 0 may fall on the other side of ReLU; then the difference is larger.

    That happened in 3 of 100 starts: a weight differed by 2e-5 to 8e-4, in the other starts by about 2e-7. Which starts these
    are depends on the machine, so the median of five is held to 2e-5 (`benchmarks/devices.py` measures it for a config).
    """
    train, state = trainer
    differences = {n: [] for n in COUNTS[1:]}
    for seed in range(5):
        start = state.replace(params=scaled_at_random(state.params, seed))
        ends = {n: parallel.to_host(train(n, start, 20)) for n in COUNTS}
        assert ends[1][1]["loss"] < 0.9 * train(1, start, 1)[1]["loss"]
        for n in COUNTS[1:]:
            (end, metrics), (end_of_one, metrics_of_one) = ends[n], ends[1]
            pairs = [(metrics[name], metrics_of_one[name]) for name in ("loss", "grad_norm")]
            pairs += zip(jax.tree.leaves(end), jax.tree.leaves(end_of_one), strict=True)
            # NaN if any value is NaN.
            differences[n].append(np.max([np.abs(one - other).max() for one, other in pairs]))
    for n in COUNTS[1:]:
        assert np.median(differences[n]) < 2e-5, differences
        assert np.max(differences[n]) < 0.01, differences


def scaled_at_random(params, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: leaf * rng.uniform(0.8, 1.2, leaf.shape).astype(np.float32), params)


def test_examples_are_the_same_on_any_number_of_devices():
    def examples(key, batch):
        return augment_batch(key, batch, jax.lax.axis_index(parallel.AXIS) * len(batch["image"]), **AUGMENT)

    key, batch = jax.random.key(0), make_batch(rows=8)
    one, *others = (parallel.HostForward(examples, jax.local_devices()[:n])(key, batch) for n in COUNTS)
    for other in others:
        jax.tree.map(np.testing.assert_array_equal, other, one)


def test_a_checkpoint_goes_on_on_any_number_of_devices(trainer, tmp_path):
    """The restored state equals the saved one bit by bit."""
    train, state = trainer
    first = {n: parallel.to_host(train(n, state, 1)[0]) for n in COUNTS}
    with Checkpointer(tmp_path, latest=len(COUNTS)) as checkpointer:
        for n in COUNTS:
            checkpointer.save(n, first[n])
        checkpointer.wait()
        restored = {n: checkpointer.restore(n, state) for n in COUNTS}
    wanted = train(1, first[1], 1)
    for n in COUNTS:
        jax.tree.map(np.testing.assert_array_equal, restored[n], first[n])
        for m in COUNTS:
            assert_close(train(m, restored[n], 1), wanted)


def assert_close(actual, wanted):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5), actual, wanted)


def test_all_devices_hold_the_same_state_and_metrics(trainer):
    train, state = trainer
    for leaf in jax.tree.leaves(train(4, state, 1)):
        first, *others = (np.asarray(shard.data) for shard in leaf.addressable_shards)
        assert len(others) == 3
        for other in others:
            np.testing.assert_array_equal(first, other)


def test_gradient_is_that_of_the_plain_loss():
    """Against `jax.grad` of the loss of the whole batch, on one device and without augmentation."""
    step, state = make_step("dice", OFF, norm="group", learning_rate=1.0)
    batch = make_batch()
    module = models.build("unet_pp", num_classes=3, widths=(4, 8), norm="group", deep_supervision=True)
    loss = create_loss(weights={"dice": 1.0}, activation="softmax", num_classes=3)
    plain = jax.jit(
        jax.grad(
            lambda params: loss.from_sums(
                loss.sums(module.apply({"params": params}, batch["image"]), batch["mask"], batch["valid"])
            )
        )
    )(state.params)
    expected = optax.tree.sub(state.params, plain)
    after, _ = run(step, state, batch, 4)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), parallel.to_host(after.params), expected
    )


def test_step_is_pure_in_seed_and_step_number(trainer):
    train, state = trainer
    losses_at = [float(train(2, state.replace(step=jnp.int32(n)), 1)[1]["loss"]) for n in (0, 0, 1)]
    other, _ = make_step("weighted sum", AUGMENT, dropout=0.2, seed=4)
    assert losses_at[0] == losses_at[1] != losses_at[2]
    assert float(run(other, state, make_batch(rows=8), 2)[1]["loss"]) != losses_at[0]


def test_few_images_are_overfitted():
    step, state = make_step("cross_entropy", OFF, name="adam", learning_rate=0.02)
    batch = make_batch()
    batch["valid"][:] = True
    _, first = run(step, state, batch, 4)
    _, last = run(step, state, batch, 4, num_steps=200)
    iou = last["tp"] / (last["tp"] + last["fp"] + last["fn"])
    assert last["loss"] < 0.2 * first["loss"]
    assert iou.min() > 0.95


def test_bfloat16_keeps_the_state_in_float32(plain_step):
    batch, (step, state) = make_batch(), make_step("dice", OFF, dtype="bfloat16")
    half, metrics = run(step, state, batch, 2)
    assert all(leaf.dtype != "bfloat16" for leaf in jax.tree.leaves(half))
    assert metrics["loss"].dtype == metrics["grad_norm"].dtype == "float32"
    exact = run(*plain_step, batch, 2)[1]
    difference = abs(float(metrics["loss"]) - float(exact["loss"]))
    assert 0 < difference < 0.02


def test_valid_padding_crops_mask_to_the_logits():
    module = models.build("unet", num_classes=3, widths=(4, 8), padding="valid", axis_name=parallel.AXIS)
    loss = create_loss(weights={"cross_entropy": 1.0}, activation="softmax", num_classes=3)
    tx, schedule = create_optimizer(name="sgd", learning_rate=0.1, num_steps=10)
    size = module.input_size(16)
    state = create_state(module, tx, seed=0, patch=(size, size), channels=1)
    step = create_train_step(module, loss, tx, schedule, seed=0, augmentation=OFF)
    batch = make_batch(size=size)
    batch["valid"][:] = True
    _, metrics = run(step, state, batch, 2)
    assert metrics["tp"].sum() + metrics["fn"].sum() == 4 * module.output_size(size) ** 2


def test_frozen_weights_stay_bit_by_bit_and_cost_no_moments():
    step, state = make_step("dice", OFF, name="adam", freeze=("x_0_0/*", "*/bias"))
    after, metrics = parallel.to_host(run(step, state, make_batch(), 2, num_steps=2))
    moments = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(after.opt_state)[0]]
    for path, before in jax.tree_util.tree_flatten_with_path(state.params)[0]:
        name = jax.tree_util.keystr(path)
        leaf = after.params
        for part in path:
            leaf = leaf[part.key]
        frozen = "x_0_0" in name or "bias" in name
        assert np.array_equal(leaf, before) == frozen, name
        assert sum(moment.endswith(name) for moment in moments) == (0 if frozen else 2), name
    assert metrics["grad_norm"] > 0


def test_nan_is_reported(plain_step):
    step, state = plain_step
    batch = make_batch()
    batch["image"][0, 0, 0, 0] = np.nan
    assert not run(step, state, batch, 2)[1]["finite"]
    assert run(step, state, make_batch(), 2)[1]["finite"]
