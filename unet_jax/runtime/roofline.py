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


def step_and_peak_flops(p_step, *, dtype: str, accumulate: int = 1, devices=None) -> tuple[float, float]:
    """(FLOPs of a step, FLOPs a second of a matrix product), both on all local devices; (0, 0) where XLA counts none.

    The FLOPs are XLA's own count, free once the step is compiled; what `model.remat` computes again is among them. XLA
    counts the body of a loop once, so the micro-batches of `optim.accumulate` are multiplied out. The peak is measured
    now, in the network's type of number.

    Args:
      p_step: as of `parallel.compile_step`.
    """
    local = parallel.local_devices(devices)
    flops = count_operations(p_step).flops * accumulate * len(local)
    if not flops > 0:
        return 0.0, 0.0
    size, times = STEP_PRODUCT.get(local[0].platform, ACCELERATOR_PRODUCT)
    return flops, fastest_rate(*matmul_run(dtype, size, times, devices), rounds=STEP_ROUNDS)


# (rows and columns, products in a row): on a CPU some hundredths of a second, on an accelerator enough to hide the start.
STEP_PRODUCT = {"cpu": (1024, 1)}


ACCELERATOR_PRODUCT = (4096, 8)


STEP_ROUNDS = 4
