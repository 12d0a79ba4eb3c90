"""The roof that a training step is held against: how fast the same devices multiply matrices."""

from unet_jax.runtime import parallel, roofline

# (rows and columns, products in a row): on a CPU some hundredths of a second, on an accelerator enough to hide the start.
PRODUCT = {"cpu": (1024, 1)}
ACCELERATOR = (4096, 8)
ROUNDS = 4


def step_and_roof(p_step, *, dtype: str, accumulate: int = 1, devices=None) -> tuple[float, float]:
    """(FLOPs of a step, FLOPs a second of a matrix product), both on all local devices; (0, 0) where XLA counts none.

    The FLOPs are XLA's own count, free once the step is compiled; what `model.remat` computes again is among them. XLA
    counts the body of a loop once, so the micro-batches of `optim.accumulate` are multiplied out. The roof is measured
    now, in the network's type of number.

    Args:
      p_step: as of `parallel.compile_step`.
    """
    counted = p_step.cost_analysis() or {}
    local = parallel.local_devices(devices)
    flops = counted.get("flops", 0.0) * accumulate * len(local)
    if not flops > 0:
        return 0.0, 0.0
    size, times = PRODUCT.get(local[0].platform, ACCELERATOR)
    return flops, roofline.rate(*roofline.product(dtype, size, times, devices), rounds=ROUNDS)
