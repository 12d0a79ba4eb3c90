"""The whole plan: for each target the config's batch, and on request the largest that fits."""

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from importlib import metadata

from ml_collections import ConfigDict

from unet_jax.analysis.plan import compile, devices, work
from unet_jax.analysis.plan.compile import Program
from unet_jax.analysis.plan.devices import Target
from unet_jax.analysis.plan.estimate import EFFICIENCY, Estimate, estimate, reduced_bytes, scaling
from unet_jax.analysis.plan.fit import largest

VERSIONS = ("unet_jax", "jax", "jaxlib", "flax", "optax")


def tell(text: str) -> None:
    """Progress goes where the page does not."""
    print(text, file=sys.stderr, flush=True)


@dataclasses.dataclass(frozen=True)
class Plan:
    """One program on one target.

    Attributes:
      target: what it was compiled for.
      program: what a device has to do.
      sizes: as of `work.Work.sizes`.
      efficiency: the share of the roofline that is assumed.
      is_largest: whether the batch is the largest found to fit, and not the config's.
    """

    target: Target
    program: Program
    sizes: dict[str, int]
    efficiency: float
    is_largest: bool

    @property
    def fits(self) -> bool:
        """Whether the device holds it."""
        return self.program.peak <= self.target.capacity

    @property
    def reduced(self) -> int:
        """Bytes that a step sums over the devices."""
        return reduced_bytes(self.program, self.sizes["parameter_bytes"])

    @functools.cached_property
    def estimate(self) -> Estimate:
        """On the target's devices; not to be asked for where the compiler gave up."""
        return estimate(self.program, self.target, self.sizes["parameter_bytes"], self.efficiency)

    @functools.cached_property
    def scaling(self) -> tuple[Estimate, ...]:
        """On 4 to 256 chips of the kind."""
        return scaling(self.program, self.target, self.sizes["parameter_bytes"], self.efficiency)

    def to_json(self) -> dict:
        """Everything as plain values; bytes, seconds, FLOPs."""
        facts = {
            "batch_per_device": self.program.batch,
            "is_largest": self.is_largest,
            "fits": self.fits,
            "sizes": self.sizes,
            "reduces": self.program.reduces,
            "reduced_bytes": self.reduced,
        }
        if self.program.cost:
            facts["cost"] = dataclasses.asdict(self.program.cost) | {"peak": self.program.peak}
            facts["step"] = _of(self.estimate)
            facts["scaling"] = [_of(each) for each in self.scaling]
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
    say: Callable[[str], None] = tell,
) -> list[Plan]:
    """Plans a run of `config` for each of `topologies`: "local", or a TPU's such as "v5e:2x2".

    Args:
      config: as of `configs/default.py`.
      topologies: what to compile for.
      fit: whether to find the largest batch a device, too.
      efficiency: the share of the roofline that a step is assumed to reach.
      channels, classes, overlapping: of the data, in place of the config's data set; 0 to open that.
      say: is told what is compiled.

    Raises:
      UserError: bad input; or with `fit`, not even one image fits.
    """
    dataset = work.open_data(config, channels, classes, overlapping)
    targets = [devices.create_target(name, config.model.dtype) for name in dict.fromkeys(topologies)]
    # All before the first is compiled, which may take minutes: an error in the last one is told at once.
    jobs = [(work.create_work(config, dataset, target.devices), target) for target in targets]
    plans = []
    for job, target in jobs:
        compile_batch = functools.partial(compile.program, job, target, cache_dir=config.data.cache_dir, say=say)
        batch = job.batch_size // len(target.devices)
        plans.append(Plan(target, compile_batch(batch), job.sizes, efficiency, is_largest=False))
        if fit:
            found = largest(compile_batch, batch, target.capacity, unit=job.accumulate, say=say)
            plans.append(Plan(target, found, job.sizes, efficiency, is_largest=True))
    return plans


def versions() -> dict[str, str]:
    """Of what decides about a program."""
    return {name: metadata.version(name) for name in VERSIONS}


def to_json(plans: Sequence[Plan]) -> dict:
    """All plans as plain values, each target with its own."""
    targets: dict[str, dict] = {}
    for plan in plans:
        target = plan.target
        facts = {key: getattr(target, key) for key in ("kind", "capacity", "flops", "bandwidth", "ring", "origin")}
        found = targets.setdefault(target.name, {**facts, "num_devices": len(target.devices), "plans": []})
        found["plans"].append(plan.to_json())
    return {"versions": versions(), "efficiency": plans[0].efficiency, "targets": targets}


def _of(each: Estimate) -> dict:
    return dataclasses.asdict(each) | {"binds": each.binds, "images_per_s": each.images_per_s, "share": each.share}
