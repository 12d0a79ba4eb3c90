"""Compiles the training step once, and keeps its cost in the data cache under a hash of the program."""

import contextlib
import dataclasses
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any, cast

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from unet_jax.analysis.plan.devices import Target
from unet_jax.analysis.plan.reduces import count_reduces
from unet_jax.analysis.plan.work import Work
from unet_jax.data.store import cache
from unet_jax.runtime import compilation_cache, parallel
from unet_jax.runtime.program_cost import Cost, count_operations
from unet_jax.storage.digests import json_sha256

# Seconds between two messages during a compilation.
STILL_S = 20
# Part of the hash. Change it whenever the counting changes, so that older costs in the cache are not used.
COUNTED = "in all micro-batches"


@dataclasses.dataclass(frozen=True)
class Program:
    """Describes the program of one device in a training step.

    Attributes:
      batch: examples of this device.
      cost: XLA's count over all micro-batches; None if the compiler finds that the program does not fit.
      reduces: number of all-reduces.
      reduced: bytes that they sum over the devices.
    """

    batch: int
    cost: Cost | None
    reduces: int = 0
    reduced: int = 0

    @property
    def peak(self) -> float:
        """Peak bytes; infinite if the compiler finds that the program does not fit."""
        return self.cost.peak if self.cost else math.inf


def lower(
    step: Callable, state: Any, part: Mapping[str, jax.ShapeDtypeStruct], devices: Sequence[jax.Device]
) -> jax.stages.Lowered:
    """Lowers a training step for local devices (by pmap, as training does) or for a topology (by shard_map).

    Args:
      step: the step's body on one device, `(state, batch) -> (state, metrics)`.
      state: shapes of the state.
      part: shapes of one device's batch, each leaf `[b, ...]`.
      devices: devices of this machine, or of a topology.

    Returns:
      The lowered program.
    """
    n = len(devices)
    if devices[0] in jax.local_devices():
        stacked = jax.tree.map(lambda x: jax.ShapeDtypeStruct((n, *x.shape), x.dtype), part)
        # `jax.pmap` returns a function that can be lowered.
        p_step = cast(jax.stages.Wrapped, parallel.pmap_step(step, devices))
        return p_step.lower(state, stacked)
    mesh = Mesh(np.asarray(devices), (parallel.AXIS,))
    whole, split = PartitionSpec(), PartitionSpec(parallel.AXIS)

    def placed(tree, spec, copies):
        sharding = NamedSharding(mesh, spec)
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(
                (copies * x.shape[0], *x.shape[1:]) if copies else x.shape, x.dtype, sharding=sharding
            ),
            tree,
        )

    mapped = jax.shard_map(step, mesh=mesh, in_specs=(whole, split), out_specs=(whole, whole), check_vma=False)
    return jax.jit(mapped, donate_argnums=0).lower(placed(state, whole, 0), placed(part, split, n))


def program(work: Work, target: Target, batch: int, *, cache_dir: str = "", say: Callable[[str], None]) -> Program:
    """Compiles the step for `batch` examples on each device, or reads its cost from the cache.

    The key is a hash of the lowered program, the compiler's versions and flags, and the devices, so a changed config,
    network or library is compiled again.

    Args:
      work: the step.
      target: the devices.
      batch: examples on each device.
      cache_dir: folder of the data cache; "" for the default.
      say: called with a message before, during and after a compilation.
    """
    lowered = lower(work.step, work.state, work.rows(batch), target.devices)
    facts = cache.remember(
        f"plan-{json_sha256([COUNTED, lowered.as_text(), *_compiler(target)])}",
        lambda: _compile(lowered, work, target, batch, say),
        cache_dir,
    )
    cost = Cost(**facts["cost"]) if facts["cost"] else None
    return Program(batch, cost, facts["reduces"], facts["reduced"])


def _compiler(target: Target) -> list:
    """Returns everything that the compiled program depends on except the lowered program."""
    packages = ["jax", "jaxlib"] if target.is_local else ["jax", "jaxlib", "libtpu"]
    versions = [metadata.version(name) for name in packages]
    flags = [os.environ.get(name, "") for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")]
    # XLA compiles for the instructions of this CPU.
    machine = compilation_cache.processor_kind() if target.platform == "cpu" else ""
    return [versions, flags, machine, target.name, target.kind, len(target.devices)]


def _compile(lowered: jax.stages.Lowered, work: Work, target: Target, batch: int, say: Callable[[str], None]) -> dict:
    say(f"compiling for {target.name}, {len(target.devices)} devices, {batch} images on each ...")
    begin = time.perf_counter()
    with _still(say, begin):
        facts = _facts(lowered, target.platform)
    if facts["cost"] and work.accumulate > 1:
        facts["cost"] |= _of_all_rounds(facts["cost"], work, batch)
    outcome = "" if facts["cost"] else ": does not fit in memory"
    say(f"... {time.perf_counter() - begin:.0f} s{outcome}")
    return facts


@contextlib.contextmanager
def _still(say: Callable[[str], None], begin: float) -> Iterator[None]:
    """Prints a message every STILL_S seconds while the body runs, as XLA does not report progress."""
    done = threading.Event()

    def repeat():
        while not done.wait(STILL_S):
            say(f"... {time.perf_counter() - begin:.0f} s, still compiling")

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _facts(lowered: jax.stages.Lowered, platform: str) -> dict:
    """Compiles a program and counts its cost and its all-reduces."""
    try:
        executable = parallel.compile_lowered(lowered, platform)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        # A TPU's compiler knows its memory.
        return {"cost": None, "reduces": 0, "reduced": 0}
    reduces, reduced = count_reduces(executable.as_text() or "")
    return {"cost": dataclasses.asdict(Cost.of(executable)), "reduces": reduces, "reduced": reduced}


def _of_all_rounds(cost: dict, work: Work, batch: int) -> dict[str, float]:
    """Multiplies the work of a micro-batch by the number of micro-batches, as XLA counts a loop's body once.

    A second step has twice as many micro-batches with half as many rows each, so XLA counts half of its body. The two
    counts give the body's fraction. Both steps are lowered for one local device and counted before they are compiled.

    Returns:
      FLOPs and bytes moved.
    """
    assert work.finer is not None
    n = work.accumulate
    rows = work.rows(-(-batch // (2 * n)) * 2 * n)
    whole, halved = (
        count_operations(lower(step, work.state, rows, jax.local_devices()[:1]))._asdict()
        for step in (work.step, work.finer)
    )
    body = {name: 2 * (1 - halved[name] / whole[name]) for name in whole}
    return {name: cost[name] * (1 + (n - 1) * fraction) for name, fraction in body.items()}
