"""Measures the highest rates of the local devices: FLOPs of a matrix product, and bytes read and written, per second."""

import math
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from unet_jax.runtime import parallel
from unet_jax.runtime.program_cost import count_operations

# Rows and columns of a matrix.
PRODUCT_SIZE = 2048

# Bytes on each device, more than the caches hold.
COPY_BYTES = 1 << 27

ROUNDS = 7

# The product that a training step is compared with: (rows and columns, products in one run). On a CPU it takes some
# hundredths of a second; on an accelerator it takes long enough that the time to start a program does not matter.
STEP_PRODUCT = {"cpu": (1024, 1)}
ACCELERATOR_PRODUCT = (4096, 8)
STEP_ROUNDS = 8
# After this time no further round begins, so that a slow machine does not wait longer.
STEP_SECONDS = 0.2


def matmul_run(
    dtype: str = "float32", size: int = 0, times: int = 1, devices: Sequence[jax.Device] | None = None
) -> tuple[Callable[[], None], float]:
    """Compiles a square matrix product for all local devices at once.

    Args:
      dtype: of the numbers.
      size: rows and columns; 0 for `PRODUCT_SIZE`.
      times: products in one run. On a fast device several are needed, so that the time to start a program does not matter.
      devices: to run on; None for all local devices.

    Returns:
      `run()`, which computes and waits for the product, and the FLOPs of a run on all devices.
    """
    n, size = len(parallel.local_devices(devices)), size or PRODUCT_SIZE
    # With this scale the powers of the matrix neither grow nor vanish.
    one = np.random.default_rng(0).random((1, size, size), np.float32) * (2 / size)
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
    """Compiles a program that reads an array and overwrites it, on all local devices at once.

    It overwrites the array because on a CPU the pages of a new array must be made first, which takes ten times as long.

    Returns:
      `run()`, which runs and waits for the program, and the bytes that a run moves on all devices.
    """
    n = jax.local_device_count()
    add = parallel.pmap_step(lambda array, _: (array + 1, ()))
    array = parallel.replicate(np.zeros(COPY_BYTES // 4, np.float32))

    def run() -> None:
        nonlocal array
        array, _ = jax.block_until_ready(add(array, jnp.zeros(n)))

    run()
    return run, n * 2.0 * COPY_BYTES


def fastest_rate(run: Callable[[], None], amount: float, rounds: int = 0, limit_s: float = math.inf) -> float:
    """Returns `amount` per second, by the fastest of several rounds.

    Args:
      run: the function to time.
      amount: the work of one run, such as FLOPs or bytes.
      rounds: how many; 0 for `ROUNDS`.
      limit_s: after this many seconds no further round begins.
    """
    seconds: list[float] = []
    while len(seconds) < (rounds or ROUNDS) and sum(seconds) < limit_s:
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return amount / min(seconds)


def step_flops(
    p_step: parallel.CompiledStep, *, accumulate: int = 1, devices: Sequence[jax.Device] | None = None
) -> float:
    """Returns the FLOPs of a training step on all local devices.

    XLA counts the FLOPs of the compiled step, which include everything that `model.remat` computes again. XLA counts the
    body of a loop once, so the count is multiplied by `accumulate`.

    Args:
      p_step: what `parallel.compile_step` returned.
      accumulate: micro-batches of a step.
      devices: of this process; None for all local devices.

    Returns:
      The FLOPs; 0 if XLA counts none.
    """
    return count_operations(p_step).flops * accumulate * len(parallel.local_devices(devices))


def peak_meter(dtype: str, devices: Sequence[jax.Device] | None = None) -> Callable[[], float]:
    """Compiles a large matrix product, and returns a function that measures its FLOPs per second on all local devices.

    Each call takes the fastest of a few products. It takes some hundredths of a second, and at most one product longer than
    `STEP_SECONDS`.

    Args:
      dtype: the number type of the network, which the product uses too.
      devices: of this process; None for all local devices.
    """
    platform = parallel.local_devices(devices)[0].platform
    run, flops = matmul_run(dtype, *STEP_PRODUCT.get(platform, ACCELERATOR_PRODUCT), devices)
    return lambda: fastest_rate(run, flops, STEP_ROUNDS, STEP_SECONDS)
