"""Training steps of a small network on a batch of noise, on any number of devices."""

import functools

import jax
import numpy as np

from unet_jax import models
from unet_jax.runtime import parallel
from unet_jax.training.losses.registry import create_loss
from unet_jax.training.optim.optimizer import create_optimizer
from unet_jax.training.state import create_state
from unet_jax.training.step import create_train_step

AUGMENT = {"flip": True, "quarter_turns": True, "brightness": 0.1, "contrast": 0.1, "gamma": 0.1, "noise": 0.1}
OFF = {name: type(value)(0) for name, value in AUGMENT.items()}
ACTIVATION = {
    "cross_entropy": "softmax",
    "dice": "softmax",
    "binary_cross_entropy": "sigmoid",
    "bce_dice": "sigmoid",
    "weighted_cross_entropy": "softmax",
    "weighted sum": "softmax",
}


def make_batch(rows=4, size=16):
    """Returns images of noise with masks of their bright pixels; the first rows have far fewer valid pixels than the last."""
    rng = np.random.default_rng(1)
    image = rng.normal(size=(rows, size, size, 1)).astype(np.float32)
    valid = rng.random((rows, size, size)) < np.linspace(0.1, 1, rows)[:, None, None]
    mask = np.digitize(image[..., 0], (-0.5, 0.5)).astype(np.int32)
    return {"image": image, "mask": mask, "valid": valid, "weight": rng.random(valid.shape).astype(np.float32)}


def make_step(
    loss_name, augmentation, *, name="sgd", norm="batch", seed=3, learning_rate=0.05, accumulate=1, freeze=(), **options
):
    """Returns a training step of a small U-Net++, and the state before it."""
    module = models.build(
        "unet_pp",
        num_classes=3,
        widths=(4, 8),
        norm=norm,
        deep_supervision=True,
        activation=ACTIVATION[loss_name],
        axis_name=parallel.AXIS,
        **options,
    )
    if loss_name == "weighted sum":
        losses = {"cross_entropy": 1.0, "dice": 0.5}
        weights = {"class_weights": (1.0, 2.0, 0.5), "head_weights": (0.3,) * len(module.widths[1:])}
    else:
        losses, weights = {loss_name: 1.0}, {}
    loss = create_loss(weights=losses, activation=module.activation, num_classes=3, **weights)
    tx, schedule = create_optimizer(
        name=name, learning_rate=learning_rate, num_steps=100, schedule="constant", freeze=freeze
    )
    state = create_state(module, tx, seed=0, patch=(16, 16), channels=1)
    step = create_train_step(
        module, loss, tx, schedule, seed=seed, augmentation=augmentation, accumulate=accumulate, freeze=freeze
    )
    return step, state


def run(step, state, batch, num_devices, num_steps=1):
    """Returns the state and the metrics after `num_steps` steps on the same batch, on the first `num_devices` devices."""
    return run_compiled(mapped(step, num_devices), state, batch, jax.local_devices()[:num_devices], num_steps)


# Bounded, because programs hold memory.
@functools.lru_cache(maxsize=8)
def mapped(step, num_devices):
    """Returns the pmapped step, which compiles once however often `run` is called."""
    return parallel.pmap_step(step, jax.local_devices()[:num_devices])


def run_compiled(p_step, state, batch, devices, num_steps):
    """Runs a compiled step, and waits after each: many steps at once on more devices than cores can block each other."""
    state, batch = parallel.replicate(state, devices), parallel.shard(batch, devices)
    for _ in range(num_steps):
        state, metrics = jax.block_until_ready(p_step(state, batch))
    return state, metrics
