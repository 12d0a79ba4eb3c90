"""Estimates how long a program takes from what it does: a roofline for the device, a ring for the links."""

import dataclasses

from unet_jax.analysis.plan.compile import Program
from unet_jax.analysis.plan.devices import Target

# The fraction of the roofline that a step reaches, unless measured.
EFFICIENCY = 0.5
# Numbers of chips.
SCALES = (4, 8, 16, 32, 64, 128, 256)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Expected time of one training step; seconds.

    Attributes:
      num_devices: that share the step.
      batch: examples of each.
      flops_s: of its operations at the device's peak.
      memory_s: of its bytes at the memory's peak.
      reduce_s: of the all-reduces, during which nothing else is assumed to be done; 0 where the links are unknown.
      step_s: max(flops_s, memory_s) / efficiency + reduce_s.
    """

    num_devices: int
    batch: int
    flops_s: float
    memory_s: float
    reduce_s: float
    step_s: float

    @property
    def binds(self) -> str:
        """The larger bound: that of the roofline."""
        return "FLOPs" if self.flops_s >= self.memory_s else "memory bandwidth"

    @property
    def images_per_s(self) -> float:
        """Images a second of all devices together."""
        return self.num_devices * self.batch / self.step_s

    @property
    def scaling_efficiency(self) -> float:
        """Images a second as a fraction of what as many devices without an all-reduce would do."""
        return 1 - self.reduce_s / self.step_s


def ring_seconds(num_bytes: float, n: int, bandwidth: float) -> float:
    """Estimates an all-reduce over a ring of n devices: 2 (n - 1) / n · bytes / bandwidth: a reduce-scatter, then an all-gather.

    Each of the two passes (n - 1) parts of bytes / n on from every device (Patarasuk and Yuan, "Bandwidth optimal
    all-reduce algorithms", 2009). Latency is not in it.
    """
    return 2 * (n - 1) / n * num_bytes / bandwidth


def reduced_bytes(program: Program, gradient_bytes: int) -> int:
    """Returns what a step sums over its devices, by its program; for one device, whose program sums nothing, the gradients."""
    return program.reduced or gradient_bytes


def estimate(
    program: Program, target: Target, gradient_bytes: int, efficiency: float = EFFICIENCY, num_devices: int = 0
) -> Estimate:
    """Estimates the step on the target's devices, or on `num_devices` of the kind with the same batch on each."""
    n = num_devices or len(target.devices)
    flops_s, memory_s = program.cost.flops / target.flops, program.cost.moved / target.bandwidth
    reduce_s = ring_seconds(reduced_bytes(program, gradient_bytes), n, target.ring) if target.ring else 0.0
    step_s = max(flops_s, memory_s) / efficiency + reduce_s
    return Estimate(n, program.batch, flops_s, memory_s, reduce_s, step_s)


def scaling(
    program: Program, target: Target, gradient_bytes: int, efficiency: float = EFFICIENCY
) -> tuple[Estimate, ...]:
    """Estimates the same batch on each of 4 to 256 chips; empty where the links are unknown."""
    if not target.ring:
        return ()
    return tuple(estimate(program, target, gradient_bytes, efficiency, n) for n in SCALES)
