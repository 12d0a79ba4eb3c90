"""Compiles the training step once, and keeps what it costs in the data cache under the hash of the program."""

import contextlib
import dataclasses
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from importlib import metadata

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

# Seconds between two messages that a compilation goes on.
STILL_S = 20
# Part of the hash. Change it whenever what is counted changes, so that no older cost in the cache is used.
COUNTED = "in all micro-batches"


@dataclasses.dataclass(frozen=True)
class Program:
    """The program of one device in a training step, and what it does.

    Attributes:
      batch: examples of this device.
      cost: by XLA's count, of all micro-batches; None where it does not fit by the compiler's own plan.
      reduces: number of all-reduces.
      reduced: bytes that they sum over the devices.
    """

    batch: int
    cost: Cost | None
    reduces: int = 0
    reduced: int = 0

    @property
    def peak(self) -> float:
        """Bytes held at once; infinite where they do not fit by the compiler's own plan."""
        return self.cost.peak if self.cost else math.inf


def lower(step: Callable, state, part, devices: Sequence[jax.Device]) -> jax.stages.Lowered:
    """Lowers a training step for devices that are there (as training does, by pmap) or not (by shard_map).

    Args:
      step: the body, of one device.
      state: its shapes.
      part: shapes of one device's batch, each leaf `[b, ...]`.
      devices: of this machine, or of a topology.
    """
    n = len(devices)
    if devices[0] in jax.local_devices():
        stacked = jax.tree.map(lambda x: jax.ShapeDtypeStruct((n, *x.shape), x.dtype), part)
        return parallel.pmap_step(step, devices).lower(state, stacked)
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


def program(work: Work, target: Target, batch: int, *, cache_dir: str = "", say: Callable) -> Program:
    """Compiles the step with `batch` examples a device, unless the cache has its cost; `say` gets a message before and after.

    The key is a hash of the lowered program, the versions and flags of the compiler and the devices, so a changed config,
    network or library is compiled again.
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
    """Returns everything that the compiled program depends on, besides the program itself."""
    versions = [metadata.version(name) for name in ("jax", "jaxlib", *(["libtpu"] if not target.is_local else []))]
    flags = [os.environ.get(name, "") for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")]
    # For a CPU, XLA compiles for its instructions.
    machine = compilation_cache.cache_dir().name if target.platform == "cpu" else ""
    return [versions, flags, machine, target.name, target.kind, len(target.devices)]


def _compile(lowered, work: Work, target: Target, batch: int, say) -> dict:
    say(f"compiling for {target.name}, {len(target.devices)} devices, {batch} images on each ...")
    begin = time.perf_counter()
    with _still(say, begin):
        facts = _facts(lowered, target.platform)
    if facts["cost"] and work.accumulate > 1:
        facts["cost"] |= _of_all_rounds(facts["cost"], work, batch)
    say(f"... {time.perf_counter() - begin:.0f} s" + ("" if facts["cost"] else ": more than the memory holds"))
    return facts


@contextlib.contextmanager
def _still(say, begin: float):
    """Says every STILL_S seconds that the work inside goes on: XLA does not report progress."""
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


def _facts(lowered, platform: str) -> dict:
    try:
        executable = parallel.compile_lowered(lowered, platform)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        # A TPU's compiler knows its memory.
        return {"cost": None, "reduces": 0, "reduced": 0}
    reduces, reduced = count_reduces(executable.as_text())
    return {"cost": dataclasses.asdict(Cost.of(executable)), "reduces": reduces, "reduced": reduced}


def _of_all_rounds(cost: dict, work: Work, batch: int) -> dict[str, float]:
    """Multiplies the work on a micro-batch by their number: XLA counts a loop's body once.

    The body's fraction of the count follows from a step with twice as many micro-batches of half as many rows each, whose
    count lacks half of the body. Both are lowered for one local device and counted before they are compiled.

    Returns:
      FLOPs and bytes moved.
    """
    n = work.accumulate
    rows = work.rows(-(-batch // (2 * n)) * 2 * n)
    whole, halved = (
        count_operations(lower(step, work.state, rows, jax.local_devices()[:1]))._asdict()
        for step in (work.step, work.finer)
    )
    body = {name: 2 * (1 - halved[name] / whole[name]) for name in whole}
    return {name: cost[name] * (1 + (n - 1) * fraction) for name, fraction in body.items()}
