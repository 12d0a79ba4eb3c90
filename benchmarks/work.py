"""Builds what the benchmarks time: one compiled program of the project on made-up images, and a matrix product.

The published widths of U-Net++ with BatchNorm, three channels in, three classes out. Training is the project's own
step (cross entropy, Adam, no augmentation), prediction its own forward pass (softmax of the deepest head).
"""

import dataclasses
import time
from collections.abc import Callable

import jax
import numpy as np
from flax import linen as nn

from unet_jax import models
from unet_jax.inference.predictor import forward
from unet_jax.runtime import parallel, roofline
from unet_jax.runtime.program_cost import Cost
from unet_jax.training.losses.registry import create_loss
from unet_jax.training.optim.optimizer import create_optimizer
from unet_jax.training.state import TrainState, create_state
from unet_jax.training.step import create_train_step

WIDTHS = (32, 64, 128, 256, 512)
CHANNELS = CLASSES = 3


@dataclasses.dataclass(frozen=True)
class Work:
    """A compiled program: `run()` does it once and waits; its cost is XLA's own count."""

    run: Callable[[], None]
    gflop: float
    temporary_gb: float
    compile_s: float

    def seconds(self) -> float:
        """Times one run."""
        begin = time.perf_counter()
        self.run()
        return time.perf_counter() - begin


def create_work(model: str, mode: str, *, batch: int, size: int, dtype: str = "float32", level: int = 0) -> Work:
    """Builds and compiles the work: `batch` images of `size` x `size` over all local devices; `level` of a U-Net++."""
    parallel.check_batch_size(batch, what="--batch")
    module = create_module(model, dtype, level)
    body, state = create_step(model, size=size, dtype=dtype, level=level)
    examples = create_examples(batch, size)
    # Without this, `compile_s` could be the time of reading a file.
    jax.config.update("jax_enable_compilation_cache", False)
    begin = time.perf_counter()
    if mode == "train":
        state, examples = parallel.replicate(state), parallel.shard(examples)
        program = parallel.compile_step(parallel.pmap_step(body), state, examples)
    else:

        def predict(variables, part):
            return forward(module, "fast", variables, part)

        state, examples = parallel.replicate(state.variables), parallel.shard({"image": examples["image"]})
        program = parallel.pmap_forward(predict).lower(state, examples).compile()
    compile_s = time.perf_counter() - begin

    def run() -> None:
        nonlocal state
        result = program(state, examples)
        if mode == "train":
            # The state was donated: the next step takes the new one.
            state, result = result
        jax.block_until_ready(result)

    # The cost of one device.
    cost = Cost.of(program)
    return Work(run, cost.flops * jax.local_device_count() / 1e9, cost.temporary / 1e9, compile_s)


def create_module(model: str, dtype: str = "float32", level: int = 0) -> nn.Module:
    """Builds the network; `level` is for a U-Net++ only."""
    options = {"level": level} if model == "unet_pp" else {}
    return models.build(
        model, num_classes=CLASSES, widths=WIDTHS, norm="batch", dtype=dtype, axis_name=parallel.AXIS, **options
    )


def create_step(model: str, *, size: int, dtype: str = "float32", level: int = 0) -> tuple[Callable, TrainState]:
    """Creates the body of the training step and the state it begins with."""
    module = create_module(model, dtype, level)
    tx, schedule = create_optimizer(name="adam", learning_rate=1e-3, num_steps=1000, schedule="constant")
    loss = create_loss(weights={"cross_entropy": 1.0}, activation="softmax", num_classes=CLASSES)
    body = create_train_step(module, loss, tx, schedule, seed=0, augmentation={})
    return body, create_state(module, tx, seed=0, patch=(size, size), channels=CHANNELS)


def create_examples(batch: int, size: int) -> dict[str, np.ndarray]:
    """Creates a batch of made-up images, masks and valid pixels."""
    rng = np.random.default_rng(0)
    return {
        "image": rng.random((batch, size, size, CHANNELS), np.float32),
        "mask": rng.integers(0, CLASSES, (batch, size, size), np.int32),
        "valid": np.ones((batch, size, size), bool),
    }


def create_matmul(dtype: str = "float32") -> Work:
    """Compiles a square matrix product on every local device at once: what a convolution could reach at best."""
    begin = time.perf_counter()
    run, flops = roofline.matmul_run(dtype)
    return Work(run, flops / 1e9, 0.0, time.perf_counter() - begin)
