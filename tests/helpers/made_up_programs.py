"""Made-up programs and chips: costs and figures that are easy to calculate with."""

from unet_jax.analysis.plan.compile import Program
from unet_jax.analysis.plan.devices import Target
from unet_jax.runtime.program_cost import Cost


def made_up(peak, batch=2, flops=1e9, moved=1e8, **options):
    return Program(batch, Cost(flops, peak, 0, 0, moved=moved), **options)


def chips(**options):
    figures = {"capacity": 100.0, "flops": 1e12, "bandwidth": 1e11, "ring": 1e11} | options
    return Target(name="v5e:2x2", kind="chip", devices=(None,) * 4, origin="made up", **figures)
