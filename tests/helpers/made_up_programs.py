"""Makes up programs and chips with numbers that are easy to calculate with."""

from typing import Any

from unet_jax.analysis.plan.compile import Program
from unet_jax.analysis.plan.devices import Target
from unet_jax.runtime.program_cost import Cost


def made_up(peak: float, batch: int = 2, flops: float = 1e9, moved: float = 1e8, **options: Any) -> Program:
    """Returns the program of `batch` examples that holds `peak` bytes."""
    return Program(batch, Cost(flops, peak, 0, 0, moved=moved), **options)


def chips(**options: Any) -> Target:
    """Returns four chips with round numbers; `options` replaces fields of the target."""
    figures: dict[str, Any] = {"capacity": 100.0, "flops": 1e12, "bandwidth": 1e11, "ring": 1e11} | options
    return Target(name="v5e:2x2", kind="chip", devices=(None,) * 4, origin="made up", **figures)
