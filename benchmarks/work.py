"""Builds the work that the benchmarks time: a compiled program of the project on made-up images, and a matrix product.

The networks have U-Net++'s published widths, BatchNorm, three channels in and three classes out. Training is the project's
training step (cross entropy, Adam, no augmentation). Prediction is its forward pass (softmax of the deepest head).
"""

import dataclasses
import time
from collections.abc import Callable

import jax
import numpy as np
from flax import linen as nn

from unet_jax import models
from unet_jax.inference.forward import forward
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
    """A compiled program and its cost by XLA's count.

    Args:
      run: runs the program once and waits for its end.
      gflop: its FLOPs over all devices, in 1e9.
      temporary_gb: temporary memory of one device, in 1e9 bytes.
      compile_s: seconds that it took to build and compile.
    """

    run: Callable[[], None]
    gflop: float
    temporary_gb: float
    compile_s: float

    def seconds(self) -> float:
        """Returns the seconds of one run."""
        begin = time.perf_counter()
        self.run()
        return time.perf_counter() - begin


def create_work(model: str, mode: str, *, batch: int, size: int, dtype: str = "float32", level: int = 0) -> Work:
    """Builds and compiles the work.

    Args:
      model: "unet" or "unet_pp".
      mode: "train" for a training step, "predict" for a forward pass.
      batch: the number of images, over all local devices.
      size: height and width of the images.
      dtype: the type of the computation.
      level: for "unet_pp", the level to prune to; 0 means all four.

    Raises:
      UserError: the devices cannot share the batch equally.
    """
    parallel.check_batch_size(batch, what="--batch")
    module = create_module(model, dtype, level)
    body, state = create_step(model, size=size, dtype=dtype, level=level)
    examples = create_examples(batch, size)
    # With the cache on, `compile_s` could be the time of reading a file.
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
            # The old state was donated, so the next step takes the new one.
            state, result = result
        jax.block_until_ready(result)

    # The cost is that of one device.
    cost = Cost.of(program)
    return Work(run, cost.flops * jax.local_device_count() / 1e9, cost.temporary / 1e9, compile_s)


def create_module(model: str, dtype: str = "float32", level: int = 0) -> nn.Module:
    """Builds the network; only "unet_pp" has a `level`."""
    options = {"level": level} if model == "unet_pp" else {}
    return models.build(
        model, num_classes=CLASSES, widths=WIDTHS, norm="batch", dtype=dtype, axis_name=parallel.AXIS, **options
    )


def create_step(model: str, *, size: int, dtype: str = "float32", level: int = 0) -> tuple[Callable, TrainState]:
    """Creates the body of the training step, and the state that it starts from."""
    module = create_module(model, dtype, level)
    tx, schedule = create_optimizer(name="adam", learning_rate=1e-3, num_steps=1000, schedule="constant")
    loss = create_loss(weights={"cross_entropy": 1.0}, activation="softmax", num_classes=CLASSES)
    body = create_train_step(module, loss, tx, schedule, seed=0, augmentation={})
    return body, create_state(module, tx, seed=0, patch=(size, size), channels=CHANNELS)


def create_examples(batch: int, size: int) -> dict[str, np.ndarray]:
    """Creates a batch of random images `[batch, size, size, 3]` and masks `[batch, size, size]`, all pixels valid."""
    rng = np.random.default_rng(0)
    return {
        "image": rng.random((batch, size, size, CHANNELS), np.float32),
        "mask": rng.integers(0, CLASSES, (batch, size, size), np.int32),
        "valid": np.ones((batch, size, size), bool),
    }


def create_matmul(dtype: str = "float32") -> Work:
    """Compiles a square matrix product on every local device, whose speed is the most that a convolution could reach."""
    begin = time.perf_counter()
    run, flops = roofline.matmul_run(dtype)
    return Work(run, flops / 1e9, 0.0, time.perf_counter() - begin)
