"""Describes the devices that a step can be compiled for: TPUs by published figures, local devices by measured ones."""

import dataclasses
import importlib.util
import math
import re
from typing import NamedTuple

import jax
from jax.experimental import topologies

from unet_jax.errors import UserError
from unet_jax.runtime import memory, parallel, roofline

LOCAL = "local"
# Links of a chip in a ring: one to each neighbour, used at the same time.
RING_LINKS = 2


class Chip(NamedTuple):
    """Holds the published figures of one chip of a TPU generation.

    Attributes:
      hbm: capacity of the memory, in bytes.
      bandwidth: bandwidth of the memory, in bytes/s.
      flops: peak FLOP/s in bfloat16. Products of float32 are rounded to bfloat16 unless jax_default_matmul_precision is
        set.
      link: bandwidth of one link (ICI) to a neighbour in one direction, in bytes/s.
      dimensions: dimensions of the torus.
      pod: largest number of chips.
    """

    hbm: float
    bandwidth: float
    flops: float
    link: float
    dimensions: int
    pod: int


# Cloud TPU documentation, "System architecture" of each generation (cloud.google.com/tpu/docs/v4, v5e, v5p, v6e): peak
# compute per chip (bf16), HBM capacity and bandwidth, TPU Pod size. A link is a chip's "bidirectional inter-chip interconnect
# bandwidth" divided by its ports (two per dimension) and the two directions: v5e 400 GB/s / 4 / 2, v5p 1200 / 6 / 2,
# v6e 800 / 4 / 2. The page of v4 gives none: 6 links of 50 GB/s (Jouppi et al., "TPU v4", ISCA 2023).
# Capacities are in decimal GB, though the pages of v4 and v5p say GiB: the difference is left for the runtime and for the
# next batch.
TPUS = {
    "v4": Chip(32e9, 1200e9, 275e12, 50e9, 3, 4096),
    "v5e": Chip(16e9, 819e9, 197e12, 50e9, 2, 256),
    "v5p": Chip(95e9, 2765e9, 459e12, 100e9, 3, 8960),
    "v6e": Chip(32e9, 1638e9, 918e12, 100e9, 2, 256),
}


@dataclasses.dataclass(frozen=True)
class Target:
    """Describes devices to compile for. The figures are those of one device.

    Attributes:
      name: "local", or a topology such as "v5e:2x2".
      kind: the device kind, as JAX calls it.
      devices: all devices. Those of a topology can be compiled for, but not run on.
      capacity: capacity of the memory, in bytes.
      flops: peak FLOP/s of products.
      bandwidth: peak bandwidth of the memory, in bytes/s.
      ring: bytes/s that a device sends during an all-reduce over one ring; 0 if unknown.
      origin: the source of these figures, in words.
    """

    name: str
    kind: str
    devices: tuple[jax.Device, ...] = dataclasses.field(repr=False)
    capacity: float
    flops: float
    bandwidth: float
    ring: float
    origin: str

    @property
    def is_local(self) -> bool:
        """True for the devices of this machine."""
        return self.name == LOCAL

    @property
    def platform(self) -> str:
        """The platform of the devices: "cpu", "gpu" or "tpu"."""
        return self.devices[0].platform


def create_target(name: str, dtype: str = "float32") -> Target:
    """Creates the target for a name.

    Args:
      name: "local", or a TPU topology "GENERATION:GRID" such as "v5e:2x2".
      dtype: type of the products that the local peak is measured with.

    Raises:
      UserError: the generation or the grid is unknown, or the extra tpu is not installed.
    """
    return local(dtype) if name == LOCAL else tpu(name)


def tpu(name: str) -> Target:
    """Creates the target of a TPU topology, with the published figures of its generation.

    Args:
      name: a topology such as "v5e:2x2" or "v5p:2x2x1".

    Raises:
      UserError: as for `tpu_chips`.
    """
    generation = name.partition(":")[0]
    devices = tpu_chips(name)
    chip = TPUS[generation]
    return Target(
        name=name,
        kind=devices[0].device_kind,
        devices=tuple(devices),
        capacity=chip.hbm,
        flops=chip.flops,
        bandwidth=chip.bandwidth,
        ring=RING_LINKS * chip.link,
        origin="published figures of the chip (analysis/plan/devices.py names the pages)",
    )


def tpu_chips(name: str) -> list[jax.Device]:
    """Returns the chips of a topology, for which any machine with the extra tpu can compile.

    Args:
      name: a topology such as "v5e:2x2" or "v5p:2x2x1".

    Raises:
      UserError: the generation or the grid is unknown, or the extra tpu is not installed.
    """
    generation, _, grid = name.partition(":")
    if generation not in TPUS:
        raise UserError(
            f"topology {name!r}: generation {generation!r} is unknown; known: {', '.join(TPUS)}, and {LOCAL}"
        )
    dimensions = TPUS[generation].dimensions
    if not re.fullmatch("x".join([r"[1-9]\d*"] * dimensions), grid):
        example = "x".join("221"[:dimensions])
        raise UserError(
            f"topology {name!r}: a grid of {generation} has {dimensions} dimensions; give one such as {generation}:{example}"
        )
    bounds = tuple(map(int, grid.split("x")))
    if math.prod(bounds) > TPUS[generation].pod:
        # Here, because the compiler takes long to describe so many.
        raise UserError(
            f"topology {name!r}: {math.prod(bounds)} chips; a pod of {generation} has {TPUS[generation].pod}; "
            "give a smaller grid"
        )
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            f"topology {name!r} needs the TPU compiler; install the extra tpu: pip install 'unet-jax[tpu]' "
            "(no TPU is needed)"
        )
    try:
        return topologies.get_topology_desc(
            name, platform="tpu", chips_per_host_bounds=(*bounds, *(1,) * (3 - len(bounds))), num_slices=1
        ).devices
    except Exception as error:
        # For a grid that the generation does not have, the compiler raises errors of several classes.
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"topology {name!r}: the compiler refuses it ({reason}); give a grid that {generation} has"
        ) from error


def local(dtype: str = "float32") -> Target:
    """Creates the target of this machine: memory as the system reports it, peaks measured now.

    Args:
      dtype: type of the products that the peak is measured with.
    """
    devices = parallel.local_devices()
    # A CPU has no statistics.
    statistics = devices[0].memory_stats() or {}
    capacity = statistics.get("bytes_limit") or memory.memory_limit() / len(devices)
    flops, bandwidth = (
        roofline.fastest_rate(*run) / len(devices) for run in (roofline.matmul_run(dtype), roofline.copy_run())
    )
    limit = "what JAX may use" if "bytes_limit" in statistics else "shared among the devices"
    return Target(
        name=LOCAL,
        kind=devices[0].device_kind,
        devices=tuple(devices),
        capacity=capacity,
        flops=flops,
        bandwidth=bandwidth,
        ring=0.0,
        origin=f"measured now by a {dtype} matrix product and a copy in memory; capacity from the system, {limit}",
    )
