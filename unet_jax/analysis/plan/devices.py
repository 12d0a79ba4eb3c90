"""Describes what a step can be compiled for: TPUs by their published figures, the local devices by measured ones."""

import dataclasses
import importlib.util
import math
import os
import re
from pathlib import Path
from typing import NamedTuple

import jax
from jax.experimental import topologies

from unet_jax.errors import UserError
from unet_jax.runtime import parallel, roofline

LOCAL = "local"
# Links of a chip in a ring: to the one before and to the one behind, each sends at once.
RING_LINKS = 2


class Chip(NamedTuple):
    """One chip of a TPU generation.

    Attributes:
      hbm: bytes of memory.
      bandwidth: bytes a second of that memory.
      flops: a second, of bfloat16 products; float32 is rounded to it unless jax_default_matmul_precision is set.
      link: bytes a second, in one direction of one link (ICI) to a neighbour.
      dimensions: of the torus.
      pod: chips at most.
    """

    hbm: float
    bandwidth: float
    flops: float
    link: float
    dimensions: int
    pod: int


# Cloud TPU documentation, "System architecture" of each generation (cloud.google.com/tpu/docs/v4, v5e, v5p, v6e): peak
# compute per chip (bf16), HBM capacity and bandwidth, TPU Pod size. A link is a chip's "bidirectional inter-chip interconnect
# bandwidth" over its ports (two to a dimension) and both directions: v5e 400 GB/s / 4 / 2, v5p 1200 / 6 / 2,
# v6e 800 / 4 / 2; the page of v4 does not say: 6 links of 50 GB/s (Jouppi et al., "TPU v4", ISCA 2023).
# Capacities as decimal GB, though the pages of v4 and v5p say GiB: the rest is for the runtime and for batches on their way.
TPUS = {
    "v4": Chip(32e9, 1200e9, 275e12, 50e9, 3, 4096),
    "v5e": Chip(16e9, 819e9, 197e12, 50e9, 2, 256),
    "v5p": Chip(95e9, 2765e9, 459e12, 100e9, 3, 8960),
    "v6e": Chip(32e9, 1638e9, 918e12, 100e9, 2, 256),
}


@dataclasses.dataclass(frozen=True)
class Target:
    """Devices to compile for; the figures are of one of them.

    Attributes:
      name: as asked for: "local", or a topology such as "v5e:2x2".
      kind: of a device, as JAX calls it.
      devices: all of them; those of a topology can be compiled for, not run on.
      capacity: bytes of memory.
      flops: products a second at the peak.
      bandwidth: bytes a second of the memory at the peak.
      ring: bytes a second that a device sends while all of them reduce in one ring; 0 where nothing is known.
      origin: where these figures come from, in words.
    """

    name: str
    kind: str
    devices: tuple = dataclasses.field(repr=False)
    capacity: float
    flops: float
    bandwidth: float
    ring: float
    origin: str

    @property
    def is_local(self) -> bool:
        """Whether they are there."""
        return self.name == LOCAL

    @property
    def platform(self) -> str:
        """ "cpu", "gpu" or "tpu"."""
        return self.devices[0].platform


def create_target(name: str, dtype: str = "float32") -> Target:
    """Creates the target "local", measured now with products of `dtype`, or a TPU topology "GENERATION:GRID".

    Raises:
      UserError: the generation or the grid is unknown, or the extra tpu is not installed.
    """
    return local(dtype) if name == LOCAL else tpu(name)


def tpu(name: str) -> Target:
    """Creates a target from a topology such as "v5e:2x2" or "v5p:2x2x1", with the published figures of its generation."""
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
    """Returns the chips of a topology; they can be compiled for on any machine that has the extra tpu.

    Raises:
      UserError: the generation or the grid is unknown, or the extra tpu is not installed.
    """
    generation, _, grid = name.partition(":")
    if generation not in TPUS:
        raise UserError(
            f"topology {name!r}: generation {generation!r} is unknown; known: {', '.join(TPUS)}, or {LOCAL}"
        )
    dimensions = TPUS[generation].dimensions
    if not re.fullmatch("x".join([r"[1-9]\d*"] * dimensions), grid):
        example = "x".join("221"[:dimensions])
        raise UserError(
            f"topology {name!r}: a grid of {generation} has {dimensions} dimensions; give for example {generation}:{example}"
        )
    bounds = tuple(map(int, grid.split("x")))
    if math.prod(bounds) > TPUS[generation].pod:
        # The compiler would take long to describe them.
        raise UserError(
            f"topology {name!r}: {math.prod(bounds)} chips; a pod of {generation} has {TPUS[generation].pod}, give a smaller grid"
        )
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            f"topology {name!r} needs TPU's compiler; install it: pip install -c requirements.txt -e '.[tpu]' (no TPU is needed)"
        )
    try:
        return topologies.get_topology_desc(
            name, platform="tpu", chips_per_host_bounds=(*bounds, *(1,) * (3 - len(bounds))), num_slices=1
        ).devices
    except Exception as error:
        # Whatever the compiler raises for a grid that its generation does not come in.
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"topology {name!r}: the compiler does not take it ({reason}); give a grid that {generation} comes in"
        ) from error


def local(dtype: str = "float32") -> Target:
    """Describes the devices of this machine: memory by the system's figures, peaks measured now."""
    devices = parallel.local_devices()
    # A CPU has none.
    statistics = devices[0].memory_stats() or {}
    capacity = statistics.get("bytes_limit") or _system_memory() / len(devices)
    flops, bandwidth = (
        roofline.fastest_rate(*what) / len(devices) for what in (roofline.matmul_run(dtype), roofline.copy_run())
    )
    shared = "shared among the devices" if "bytes_limit" not in statistics else "what JAX may use"
    return Target(
        name=LOCAL,
        kind=devices[0].device_kind,
        devices=tuple(devices),
        capacity=capacity,
        flops=flops,
        bandwidth=bandwidth,
        ring=0.0,
        origin=f"measured now by a {dtype} matrix product and a copy in memory; memory by the system's figures, {shared}",
    )


def _system_memory() -> float:
    """Returns the bytes of memory of this machine, or of the container that the process is in."""
    total = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    try:
        return min(total, float(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):
        # There is no such file, or it says "max".
        return total
