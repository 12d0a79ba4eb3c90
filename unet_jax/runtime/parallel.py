"""Maps steps over the devices. No other file uses `pmap`.

The body of a step uses collective operations over `AXIS`, and nothing else of this file. So the same body can also be compiled
with `jit(shard_map(...))`, ahead of time, for machines that are not present.

The state is placed once, with a copy on each device (`replicate`). A batch is `[global batch, ...]` on the host and
`[devices, batch per device, ...]` in the step (`shard`). Outputs with `out_axes=None` are equal on every device, because the
body has summed or averaged them over `AXIS`.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from unet_jax.errors import UserError
from unet_jax.runtime.processes import barrier, check_same, describe_arrays, process_count

# A pytree of arrays.
Tree = TypeVar("Tree")

# The mapped axis: the batch is split over it, everything else is replicated.
AXIS = "batch"

# Uses XLA's newer CPU kernels (YNNPACK) for products and sums only. Its older kernels (Eigen) run the convolutions: they are
# faster for the weight gradient of `models/conv.py`, and as fast for everything else in a training step.
CPU_STEP_OPTIONS: dict[str, str | bool] = {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
}


class CompiledStep(Protocol):
    """A compiled training step: `(state, batch) -> (state, metrics)`."""

    def __call__(self, state: Any, batch: Any, /) -> Any:
        """Takes one step."""
        ...

    def cost_analysis(self) -> Any:
        """Returns XLA's count of the work of one run on one device, by name."""
        ...

    def memory_analysis(self) -> Any:
        """Returns XLA's plan of the memory of one device."""
        ...


def broadcast(tree: Tree) -> Tree:
    """Returns process 0's arrays in every process, bit by bit. Every process calls it.

    Args:
      tree: arrays of the same shapes and types in every process.

    Returns:
      A tree of NumPy arrays; with one process `tree` itself.

    Raises:
      UserError: a process has arrays of other names, shapes or types; raised in every process.
    """
    if process_count() == 1:
        return tree
    host_tree = to_host(tree)
    leaves, structure = jax.tree.flatten(host_tree)
    by_name = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(host_tree)}
    # The collective operation below waits for at most 30 s; this check waits longer.
    check_same(describe_arrays(by_name))
    flat = np.concatenate([np.frombuffer(leaf.tobytes(), np.uint8) for leaf in leaves])
    flat = multihost_utils.broadcast_one_to_all(flat)
    parts = np.split(flat, np.cumsum([leaf.nbytes for leaf in leaves])[:-1])
    copies = [
        np.frombuffer(part.tobytes(), leaf.dtype).reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, copies)


class AnyProcessFlag:
    """Returns True in all processes after one of them has raised its flag.

    Every process calls it once a step, and all get the same answer at the same step. The answer belongs to the previous
    call, so that no step waits for it. With one process the answer is the flag.
    """

    def __init__(self) -> None:
        self._p_any: Callable | None = None
        self._pending: jax.Array | None = None
        if process_count() > 1:
            self._p_any = jax.pmap(lambda flag: jax.lax.pmax(flag, AXIS), axis_name=AXIS, out_axes=None)

    def __call__(self, flag: bool) -> bool:
        """Returns whether a process had raised its flag at the previous call."""
        if self._p_any is None:
            return flag
        previous, self._pending = self._pending, self._p_any(np.full(jax.local_device_count(), flag, np.int32))
        return previous is not None and bool(to_host(previous))


def local_devices(devices: Sequence[jax.Device] | None = None) -> list[jax.Device]:
    """Returns the devices of this process that share the work: `devices`, or all local devices."""
    return list(devices) if devices is not None else jax.local_devices()


def num_devices(devices: Sequence[jax.Device] | None = None) -> int:
    """Returns how many devices of all processes share the work."""
    return len(local_devices(devices)) * process_count()


def check_batch_size(
    batch_size: int, devices: Sequence[jax.Device] | None = None, what: str = "train.batch_size"
) -> None:
    """Checks that the global batch divides evenly over all devices of all processes.

    Args:
      batch_size: of the global batch.
      devices: of this process; None for all local devices.
      what: the name of the batch in the error.

    Raises:
      UserError: it does not.
    """
    n, processes = len(local_devices(devices)), jax.process_count()
    if batch_size < 1 or batch_size % (n * processes):
        raise UserError(
            f"{what}: the global batch {batch_size} does not divide over {n} devices x {processes} process(es); "
            f"use a multiple of {n * processes}"
        )


def replicate(tree: Tree, devices: Sequence[jax.Device] | None = None) -> Tree:
    """Places a copy of every leaf on each local device. A step that donates the copies does not change `tree`."""
    mesh = Mesh(np.asarray(local_devices(devices)), (AXIS,))
    return jax.device_put(to_host(tree), NamedSharding(mesh, PartitionSpec()))


def shard(batch: Tree, devices: Sequence[jax.Device] | None = None) -> Tree:
    """Splits the leading axis of every leaf: `[n * b, ...]` -> `[n, b, ...]` for n local devices.

    >>> shard({"image": np.zeros((6, 32, 32, 1))}, devices=jax.local_devices()[:1])["image"].shape
    (1, 6, 32, 32, 1)
    """
    n = len(local_devices(devices))
    return jax.tree.map(lambda x: x.reshape(n, x.shape[0] // n, *x.shape[1:]), batch)


def pmap_step(step: Callable, devices: Sequence[jax.Device] | None = None) -> Callable:
    """Maps `step(state, batch) -> (state, metrics)` over the devices.

    State and metrics are replicated; the batch is split. The state is donated: the new state overwrites its memory.
    """
    return jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=(None, None),
        donate_argnums=(0,),
        devices=None if devices is None else local_devices(devices),
    )


def compile_step(p_step: Any, state: Any, batch: Any) -> CompiledStep:
    """Compiles a step before its first call, with the fastest options for its devices.

    Args:
      p_step: what `pmap_step` returned.
      state: as for the call.
      batch: as for the call.
    """
    device = next(iter(jax.tree.leaves(state)[0].devices()))
    compiled = compile_lowered(p_step.lower(state, batch), device.platform)
    if process_count() == 1:
        return compiled
    # Some processes compile longer than others, and the first collective operation waits for at most 30 s.
    barrier("compiled")
    return _StepOfLocalRows(compiled)


class _StepOfLocalRows:
    """A step of several processes that takes the rows of this process. Its outputs are arrays of all processes."""

    def __init__(self, compiled: jax.stages.Compiled):
        self._compiled = compiled
        # The devices are in the order of the processes, as in pmap: the rows of process p are the p-th part of the batch.
        self._mesh = Mesh(sorted(jax.devices(), key=lambda device: device.process_index), (AXIS,))

    def __call__(self, state, batch):
        # From the second step on, the state is an array of all processes already and is not changed here.
        state = multihost_utils.host_local_array_to_global_array(state, self._mesh, PartitionSpec())
        batch = multihost_utils.host_local_array_to_global_array(batch, self._mesh, PartitionSpec(AXIS))
        return self._compiled(state, batch)

    def cost_analysis(self):
        return self._compiled.cost_analysis()

    def memory_analysis(self):
        return self._compiled.memory_analysis()


def compile_lowered(lowered: jax.stages.Lowered, platform: str) -> jax.stages.Compiled:
    """Compiles a lowered training step for devices of a platform ("cpu", "gpu", "tpu")."""
    flags = os.environ.get("XLA_FLAGS", "")
    if platform == "cpu" and not any(option in flags for option in CPU_STEP_OPTIONS):
        try:
            return lowered.compile(compiler_options=CPU_STEP_OPTIONS)
        except jax.errors.JaxRuntimeError as error:
            # This release of XLA does not know the options.
            if "option" not in str(error):
                raise
    return lowered.compile()


def pmap_forward(fn: Callable, devices: Sequence[jax.Device] | None = None) -> Callable:
    """Maps `fn(variables, batch) -> outputs` over the devices. Variables are replicated; batch and outputs are split."""
    return jax.pmap(
        fn,
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=0,
        devices=None if devices is None else local_devices(devices),
    )


class HostForward:
    """Runs a `pmap_forward` of `fn` on host arrays, and compiles it once for each shape.

    Args:
      fn: `(variables, batch) -> outputs`. Every leaf of `batch` and of the outputs is `[B, ...]`.
      devices: of this process; None for all local devices.
    """

    def __init__(self, fn: Callable, devices: Sequence[jax.Device] | None = None):
        self._devices = local_devices(devices)
        self._p_fn: Any = pmap_forward(fn, self._devices)

    def compile(self, variables: Any, batch: Any) -> jax.stages.Compiled:
        """Returns the compiled program for arrays of these shapes; see `run`."""
        return self._p_fn.lower(variables, shard(batch, self._devices)).compile()

    def run(self, program: jax.stages.Compiled, variables: Any, batch: Any) -> Any:
        """Runs a program that `compile` has returned.

        Args:
          program: compiled for arrays of these shapes.
          variables: replicated over the devices.
          batch: every leaf is `[B, ...]`, where B is a multiple of the number of devices.

        Returns:
          The outputs. Every leaf is a NumPy array `[B, ...]`.
        """
        outputs = program(variables, shard(batch, self._devices))
        return jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), outputs)

    def __call__(self, variables: Any, batch: Any) -> Any:
        """Compiles the program and runs it once; see `run`."""
        return self.run(self.compile(variables, batch), variables, batch)


def to_host(tree: Tree) -> Tree:
    """Copies replicated arrays to NumPy, from the first device of this process.

    It makes a copy because `np.asarray` shares the memory on a CPU, and the next step overwrites that memory.
    """
    return jax.tree.map(lambda x: np.array(x.addressable_data(0) if isinstance(x, jax.Array) else x), tree)
