"""Plans the training step for each target: with the config's batch, and on request with the largest that fits."""

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

from ml_collections import ConfigDict

from unet_jax.analysis.plan import compile, devices, work
from unet_jax.analysis.plan.compile import Program
from unet_jax.analysis.plan.devices import Target
from unet_jax.analysis.plan.estimate import EFFICIENCY, Estimate, estimate, reduced_bytes, scaling
from unet_jax.analysis.plan.fit import find_largest_batch

VERSIONS = ("unet_jax", "jax", "jaxlib", "flax", "optax")


def print_progress(text: str) -> None:
    """Prints a message to stderr, as the report goes to stdout."""
    print(text, file=sys.stderr, flush=True)


@dataclasses.dataclass(frozen=True)
class Plan:
    """Describes one program on one target.

    Attributes:
      target: the devices that it was compiled for.
      program: the program of one device.
      sizes: sizes in bytes, from `work.Work.sizes`.
      efficiency: the assumed fraction of the roofline.
      is_largest: True for the largest batch that was found to fit, False for the config's batch.
    """

    target: Target
    program: Program
    sizes: dict[str, int]
    efficiency: float
    is_largest: bool

    @property
    def fits(self) -> bool:
        """True if the program fits in a device's memory."""
        return self.program.peak <= self.target.capacity

    @property
    def reduced(self) -> int:
        """Bytes that a step sums over the devices."""
        return reduced_bytes(self.program, self.sizes["parameter_bytes"])

    @functools.cached_property
    def estimate(self) -> Estimate:
        """The estimated step on the target's devices; undefined if the program does not fit."""
        return estimate(self.program, self.target, self.sizes["parameter_bytes"], self.efficiency)

    @functools.cached_property
    def scaling(self) -> tuple[Estimate, ...]:
        """The estimated step with the same batch on each of 4 to 256 chips of this kind."""
        return scaling(self.program, self.target, self.sizes["parameter_bytes"], self.efficiency)

    def to_json(self) -> dict[str, Any]:
        """Returns everything as plain values, in bytes, seconds and FLOPs."""
        facts: dict[str, Any] = {
            "batch_per_device": self.program.batch,
            "is_largest": self.is_largest,
            "fits": self.fits,
            "sizes": self.sizes,
            "reduces": self.program.reduces,
            "reduced_bytes": self.reduced,
        }
        if self.program.cost:
            facts["cost"] = dataclasses.asdict(self.program.cost) | {"peak": self.program.peak}
            facts["step"] = _step_json(self.estimate)
            facts["scaling"] = [_step_json(step) for step in self.scaling]
        return facts


def create_plans(
    config: ConfigDict,
    topologies: Sequence[str] = (devices.LOCAL,),
    *,
    fit: bool = False,
    efficiency: float = EFFICIENCY,
    channels: int = 0,
    classes: int = 0,
    overlapping: bool = False,
    say: Callable[[str], None] = print_progress,
) -> list[Plan]:
    """Plans a run for each of several targets.

    Args:
      config: config of the run.
      topologies: "local", or TPU topologies such as "v5e:2x2".
      fit: also searches for the largest batch that fits a device.
      efficiency: the fraction of the roofline that a step is assumed to reach.
      channels: channels of an image; 0 opens the config's data set.
      classes: classes of a mask, background included; 0 opens the config's data set.
      overlapping: True for masks that may overlap, with `classes`.
      say: called with messages about what is compiled.

    Returns:
      For each topology the plan of the config's batch and, with `fit`, the plan of the largest batch.

    Raises:
      UserError: the config, a topology or the data are wrong; or, with `fit`, not even one image fits.
    """
    dataset = work.open_data(config, channels, classes, overlapping)
    targets = [devices.create_target(name, config.model.dtype) for name in dict.fromkeys(topologies)]
    # All jobs come before the first compilation, which may take minutes, so that an error is raised at once.
    jobs = [(work.create_work(config, dataset, target.devices), target) for target in targets]
    plans = []
    for job, target in jobs:
        compile_batch = functools.partial(compile.program, job, target, cache_dir=config.data.cache_dir, say=say)
        batch = job.batch_size // len(target.devices)
        plans.append(Plan(target, compile_batch(batch), job.sizes, efficiency, is_largest=False))
        if fit:
            program = find_largest_batch(compile_batch, batch, target.capacity, unit=job.accumulate, say=say)
            plans.append(Plan(target, program, job.sizes, efficiency, is_largest=True))
    return plans


def versions() -> dict[str, str]:
    """Returns the versions of the packages that a program depends on."""
    return {name: metadata.version(name) for name in VERSIONS}


def to_json(plans: Sequence[Plan]) -> dict[str, Any]:
    """Returns all plans as plain values, by target."""
    targets: dict[str, dict[str, Any]] = {}
    for plan in plans:
        target = plan.target
        facts: dict[str, Any] = {
            key: getattr(target, key) for key in ("kind", "capacity", "flops", "bandwidth", "ring", "origin")
        }
        entry = targets.setdefault(target.name, {**facts, "num_devices": len(target.devices), "plans": []})
        entry["plans"].append(plan.to_json())
    return {"versions": versions(), "efficiency": plans[0].efficiency, "targets": targets}


def _step_json(step: Estimate) -> dict:
    return dataclasses.asdict(step) | {
        "binds": step.binds,
        "images_per_s": step.images_per_s,
        "scaling_efficiency": step.scaling_efficiency,
    }
