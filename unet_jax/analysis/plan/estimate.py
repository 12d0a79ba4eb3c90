"""Estimates the time of a program: a roofline for the device, a ring of links for the all-reduces."""

import dataclasses

from unet_jax.analysis.plan.compile import Program
from unet_jax.analysis.plan.devices import Target

# The fraction of the roofline that a step reaches, unless measured.
EFFICIENCY = 0.5
# Numbers of chips in the table of scaling.
SCALES = (4, 8, 16, 32, 64, 128, 256)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Holds the expected time of one training step, in seconds.

    Attributes:
      num_devices: devices that share the step.
      batch: examples on each device.
      flops_s: time of the operations at the device's peak.
      memory_s: time of the bytes moved at the memory's peak.
      reduce_s: time of the all-reduces, assumed not to overlap with other work; 0 if the links are unknown.
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
        """The bound of the roofline: "FLOPs" or "memory bandwidth", whichever takes longer."""
        return "FLOPs" if self.flops_s >= self.memory_s else "memory bandwidth"

    @property
    def images_per_s(self) -> float:
        """Images per second of all devices together."""
        return self.num_devices * self.batch / self.step_s

    @property
    def scaling_efficiency(self) -> float:
        """Images per second, divided by those of as many devices without all-reduces."""
        return 1 - self.reduce_s / self.step_s


def ring_seconds(num_bytes: float, n: int, bandwidth: float) -> float:
    """Estimates the time of an all-reduce over a ring: 2 (n - 1) / n · bytes / bandwidth.

    It is a reduce-scatter and an all-gather; in each, every device sends (n - 1) parts of bytes / n (Patarasuk and Yuan,
    "Bandwidth optimal all-reduce algorithms", 2009). Latency is not counted.

    Args:
      num_bytes: bytes that are summed.
      n: number of devices.
      bandwidth: bytes/s that a device sends.

    Returns:
      Seconds.

    >>> ring_seconds(1e9, 4, 100e9)
    0.015
    """
    return 2 * (n - 1) / n * num_bytes / bandwidth


def reduced_bytes(program: Program, gradient_bytes: int) -> int:
    """Returns the bytes that a step sums over its devices.

    Args:
      program: the program of one device.
      gradient_bytes: bytes of the gradients, returned if the program is compiled for one device and sums nothing.
    """
    return program.reduced or gradient_bytes


def estimate(
    program: Program, target: Target, gradient_bytes: int, efficiency: float = EFFICIENCY, num_devices: int = 0
) -> Estimate:
    """Estimates the time of a step.

    Args:
      program: the program of one device.
      target: the devices and their figures.
      gradient_bytes: bytes of the gradients.
      efficiency: the fraction of the roofline that a step reaches.
      num_devices: number of devices of this kind, each with the same batch; 0 for those of the target.

    Raises:
      ValueError: the program does not fit, so its cost is unknown.
    """
    if program.cost is None:
        raise ValueError(f"program of {program.batch} examples a device: cost is None, as it does not fit")
    n = num_devices or len(target.devices)
    flops_s, memory_s = program.cost.flops / target.flops, program.cost.moved / target.bandwidth
    reduce_s = ring_seconds(reduced_bytes(program, gradient_bytes), n, target.ring) if target.ring else 0.0
    step_s = max(flops_s, memory_s) / efficiency + reduce_s
    return Estimate(n, program.batch, flops_s, memory_s, reduce_s, step_s)


def scaling(
    program: Program, target: Target, gradient_bytes: int, efficiency: float = EFFICIENCY
) -> tuple[Estimate, ...]:
    """Estimates the step with the same batch on each of 4 to 256 chips.

    Args:
      program: the program of one device.
      target: the devices and their figures.
      gradient_bytes: bytes of the gradients.
      efficiency: the fraction of the roofline that a step reaches.

    Returns:
      One estimate for each number of chips in `SCALES`; empty if the links are unknown.
    """
    if not target.ring:
        return ()
    return tuple(estimate(program, target, gradient_bytes, efficiency, n) for n in SCALES)
