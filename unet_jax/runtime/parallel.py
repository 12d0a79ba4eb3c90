"""Maps steps over the devices: the only file that knows `pmap`.

A step body uses collectives over `AXIS` by name and nothing else of this file, so the same body also runs under
`jit(shard_map(...))`, ahead of time, for machines that do not exist here.

The state is placed once, replicated (`replicate`); a batch is `[global batch, ...]` on the host and
`[devices, batch per device, ...]` in the step (`shard`). Outputs with `out_axes=None` are equal on every device because
the body has summed or averaged them over `AXIS`.
"""

import os
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from unet_jax.errors import UserError
from unet_jax.runtime.processes import barrier, process_count

# The mapped axis: the batch is split over it, everything else is replicated.
AXIS = "batch"


# XLA's newer CPU kernels (YNNPACK) for products and sums alone. Its older ones (Eigen) run convolutions: they are faster
# for the weight gradient of `models/conv.py`, and as fast for everything else in a training step.
CPU_STEP_OPTIONS = {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
}


def broadcast(tree):
    """Returns process 0's arrays in every process, bit by bit, as NumPy arrays. Every process calls it.

    Args:
      tree: arrays of the same shapes and types in every process.
    """
    if process_count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(to_host(tree))
    # The collective waits for 30 s at most.
    barrier("broadcast")
    flat = np.concatenate([np.frombuffer(leaf.tobytes(), np.uint8) for leaf in leaves])
    flat = multihost_utils.broadcast_one_to_all(flat)
    parts = np.split(flat, np.cumsum([leaf.nbytes for leaf in leaves])[:-1])
    copies = [
        np.frombuffer(part.tobytes(), leaf.dtype).reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, copies)


class AnyProcessFlag:
    """Tells all processes that one of them has raised its flag.

    Every process calls it once a step, and all get the same answer at the same step. The answer is that of the call
    before, so that no step waits for it. With one process it is the flag itself.
    """

    def __init__(self):
        self._p_any, self._pending = None, None
        if process_count() > 1:
            self._p_any = jax.pmap(lambda flag: jax.lax.pmax(flag, AXIS), axis_name=AXIS, out_axes=None)

    def __call__(self, flag: bool) -> bool:
        if self._p_any is None:
            return flag
        previous, self._pending = self._pending, self._p_any(np.full(jax.local_device_count(), flag, np.int32))
        return previous is not None and bool(to_host(previous))


def local_devices(devices: Sequence[jax.Device] | None = None) -> list[jax.Device]:
    """Returns the devices of this process that share the work: `devices`, or all local ones."""
    return list(devices) if devices is not None else jax.local_devices()


def num_devices(devices: Sequence[jax.Device] | None = None) -> int:
    """Returns how many devices of all processes share the work."""
    return len(local_devices(devices)) * process_count()


def check_batch_size(
    batch_size: int, devices: Sequence[jax.Device] | None = None, what: str = "train.batch_size"
) -> None:
    """Raises UserError unless the global batch divides evenly over all devices of all processes."""
    n, processes = len(local_devices(devices)), jax.process_count()
    if batch_size < 1 or batch_size % (n * processes):
        raise UserError(
            f"{what}: global batch {batch_size} does not divide over {n} devices x {processes} process(es); "
            f"use a multiple of {n * processes}"
        )


def replicate(tree, devices: Sequence[jax.Device] | None = None):
    """Places a copy of every leaf on each local device; a step that donates the copies leaves `tree` as it is."""
    mesh = Mesh(np.asarray(local_devices(devices)), (AXIS,))
    return jax.device_put(to_host(tree), NamedSharding(mesh, PartitionSpec()))


def shard(batch, devices: Sequence[jax.Device] | None = None):
    """Splits the leading axis of every leaf: `[n * b, ...]` -> `[n, b, ...]` for n local devices."""
    n = len(local_devices(devices))
    return jax.tree.map(lambda x: x.reshape(n, x.shape[0] // n, *x.shape[1:]), batch)


def pmap_step(step: Callable, devices: Sequence[jax.Device] | None = None) -> Callable:
    """Maps `step(state, batch) -> (state, metrics)` over the devices; state and metrics are replicated, state is donated."""
    return jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=(None, None),
        donate_argnums=(0,),
        devices=None if devices is None else local_devices(devices),
    )


def compile_step(p_step: Callable, state, batch):
    """Compiles a `pmap_step` for these arguments before its first call, with the fastest options for its devices."""
    device = next(iter(jax.tree.leaves(state)[0].devices()))
    compiled = compile_lowered(p_step.lower(state, batch), device.platform)
    if process_count() == 1:
        return compiled
    # Some compile longer, and the first collective waits for 30 s at most.
    barrier("compiled")
    return _from_local_arrays(compiled)


def _from_local_arrays(compiled) -> Callable:
    """Returns a step of several processes that takes the rows of this process; its outputs are arrays of all processes."""
    # The order of the devices is that of the processes, as in pmap: process p's rows are the p-th part of the batch.
    mesh = Mesh(sorted(jax.devices(), key=lambda device: device.process_index), (AXIS,))

    def step(state, batch):
        # From the second step on, the state is an array of all processes and stays as it is.
        state = multihost_utils.host_local_array_to_global_array(state, mesh, PartitionSpec())
        batch = multihost_utils.host_local_array_to_global_array(batch, mesh, PartitionSpec(AXIS))
        return compiled(state, batch)

    step.cost_analysis = compiled.cost_analysis
    return step


def compile_lowered(lowered, platform: str):
    """Compiles a lowered training step for devices of that platform ("cpu", "gpu", "tpu")."""
    flags = os.environ.get("XLA_FLAGS", "")
    if platform == "cpu" and not any(option in flags for option in CPU_STEP_OPTIONS):
        try:
            return lowered.compile(compiler_options=CPU_STEP_OPTIONS)
        except jax.errors.JaxRuntimeError as error:
            # A release of XLA that does not know them compiles without.
            if "option" not in str(error):
                raise
    return lowered.compile()


def pmap_forward(fn: Callable, devices: Sequence[jax.Device] | None = None) -> Callable:
    """Maps `fn(variables, batch) -> outputs` over the devices; variables are replicated, batch and outputs split."""
    return jax.pmap(
        fn,
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=0,
        devices=None if devices is None else local_devices(devices),
    )


def pmap_predict(fn: Callable, devices: Sequence[jax.Device] | None = None) -> Callable:
    """Returns a `pmap_forward` of `fn` that takes and returns host arrays.

    Returns:
      A callable `(variables, batch) -> outputs`. Every leaf of `batch` is `[B, ...]`, B a multiple of the number of local
      devices; every output leaf is a NumPy array `[B, ...]`.
    """
    p_fn = pmap_forward(fn, devices)

    def predict(variables, batch):
        outputs = p_fn(variables, shard(batch, devices))
        return jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), outputs)

    return predict


def to_host(tree):
    """Copies replicated arrays to NumPy, from the first device of this process alone.

    It copies because on a CPU `np.asarray` shares the memory, which the next step overwrites: it donates its state.
    """
    return jax.tree.map(lambda x: np.array(x.addressable_data(0) if isinstance(x, jax.Array) else x), tree)
