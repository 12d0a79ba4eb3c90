"""What the local devices can do at best: the rate of a matrix product, and of reading and writing memory."""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from unet_jax.runtime import parallel
from unet_jax.runtime.program_cost import count_operations

PRODUCT_SIZE = 2048
COPY_BYTES = 1 << 27  # on each device: more than caches hold
ROUNDS = 7


def matmul_run(dtype: str = "float32", size: int = 0, times: int = 1, devices=None) -> tuple[Callable[[], None], float]:
    """A square matrix product on every local device at once, compiled: `run()`, and its FLOPs on all of them.

    Args:
      dtype: of the numbers.
      size: rows and columns; 0 for `PRODUCT_SIZE`.
      times: products in a row in one run, so that starting it costs little beside them on a fast device.
      devices: to run on; all local ones by default.
    """
    n, size = len(parallel.local_devices(devices)), size or PRODUCT_SIZE
    one = np.random.default_rng(0).random((1, size, size), np.float32) * (2 / size)  # powers of it stay as large
    a = jnp.asarray(np.repeat(one, n, 0), dtype)

    def powers(_, a):
        result = a
        for _ in range(times):
            result = result @ a
        return result

    multiply = parallel.pmap_forward(powers, devices)

    def run() -> None:
        jax.block_until_ready(multiply(None, a))

    run()
    return run, n * times * 2.0 * size**3


def copy_run() -> tuple[Callable[[], None], float]:
    """An array read and written in its place on every local device at once: `run()`, and the bytes on all of them.

    In its place: the pages of a new array would have to be made first, which on a CPU takes ten times as long.
    """
    n = jax.local_device_count()
    add = parallel.pmap_step(lambda array, _: (array + 1, ()))
    array = parallel.replicate(np.zeros(COPY_BYTES // 4, np.float32))

    def run() -> None:
        nonlocal array
        array, _ = jax.block_until_ready(add(array, jnp.zeros(n)))

    run()
    return run, n * 2.0 * COPY_BYTES


def fastest_rate(run: Callable[[], None], amount: float, rounds: int = 0) -> float:
    """`amount` a second, by the fastest of so many rounds, 0 for `ROUNDS`."""
    seconds = []
    for _ in range(rounds or ROUNDS):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return amount / min(seconds)


def step_flops(p_step, *, accumulate: int = 1, devices=None) -> float:
    """Returns the FLOPs of a training step on all local devices, by XLA's own count; 0 where XLA counts none.

    What `model.remat` computes again is among them. XLA counts the body of a loop once, so the micro-batches of
    `optim.accumulate` are multiplied out.

    Args:
      p_step: as of `parallel.compile_step`.
      accumulate: micro-batches of a step.
      devices: to run on; all local ones by default.
    """
    return count_operations(p_step).flops * accumulate * len(parallel.local_devices(devices))


def peak_meter(dtype: str, devices=None) -> Callable[[], float]:
    """Compiles a large matrix product; returns a function that measures its FLOPs per second on all local devices.

    Each call takes the fastest of a few products. It takes some hundredths of a second.

    Args:
      dtype: the network's type of number.
      devices: to run on; all local ones by default.
    """
    platform = parallel.local_devices(devices)[0].platform
    run, flops = matmul_run(dtype, *STEP_PRODUCT.get(platform, ACCELERATOR_PRODUCT), devices)
    return lambda: fastest_rate(run, flops, rounds=STEP_ROUNDS)


# (rows and columns, products in a row): on a CPU some hundredths of a second, on an accelerator enough to hide the start.
STEP_PRODUCT = {"cpu": (1024, 1)}
ACCELERATOR_PRODUCT = (4096, 8)
STEP_ROUNDS = 8
