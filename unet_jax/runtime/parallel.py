"""Devices and processes: the only file that knows `pmap` and how processes wait for each other.

A step body uses collectives over `AXIS` by name and nothing else of this file, so the same body also runs under
`jit(shard_map(...))`, ahead of time, for machines that are not there.

The state is placed once, replicated (`replicate`); a batch is `[global batch, ...]` on the host and
`[devices, batch per device, ...]` in the step (`shard`). Outputs with `out_axes=None` are equal on every device because
the body has summed or averaged them over `AXIS`.
"""

import itertools
import os
import pickle
from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import numpy as np
from jax._src import distributed  # its key-value store and barriers wait without devices; public are only collectives
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from unet_jax.errors import UserError

T = TypeVar("T")
AXIS = "batch"  # the mapped axis: the batch is split over it, everything else is replicated
PATIENCE_MS = 24 * 3600 * 1000  # with processes that live: preparing a large data set takes one of them hours
_turns = itertools.count()  # all processes exchange the same things in one order, so that their counts agree

# XLA's newer CPU kernels (YNNPACK) for products and sums alone: convolutions by the older ones (Eigen), which run the
# weight gradient of `models/conv.py` faster and everything else in a training step as fast.
CPU_STEP_OPTIONS = {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
}


def process_count() -> int:
    """Processes that share this job; before `jax.distributed.initialize` one, and asking starts no device."""
    return jax.process_count() if jax.distributed.is_initialized() else 1


def process_index() -> int:
    """This process's number among `process_count()`."""
    return jax.process_index() if jax.distributed.is_initialized() else 0


def barrier(name: str) -> None:
    """Returns when every process of the job has called it with this name, however late the last one is.

    By JAX's coordinator and not by a collective of the devices, which gives the others 30 s on a CPU. Where a process has
    died meanwhile it raises, or the coordinator ends this one.
    """
    if process_count() > 1:
        _coordinator().wait_at_barrier(f"{name} {next(_turns)}", PATIENCE_MS)


def _coordinator():
    return distributed.global_state.client


def process_0_first(name: str, action: Callable[[], T]) -> T:
    """Runs `action` in process 0, and when it is done there, well or not, in all others; returns each its own result.

    `name` is that of the barrier, the same in every process whatever its arguments are.
    An error in process 0 does not keep the others waiting: they meet it themselves.
    """
    first = process_index() == 0
    if not first:
        barrier(name)
        return action()
    try:
        result = action()
    except Exception:  # not of an interrupt: that ends the job
        barrier(name)
        raise
    barrier(name)
    return result


def gather(value: T) -> list[T]:
    """`value` of every process, in the order of the processes; bit by bit, whatever pickles. Every process calls it."""
    if process_count() == 1:
        return [value]
    keys = [f"unet_jax/gather {next(_turns)}/{process}" for process in range(process_count())]
    own = keys[process_index()]
    _coordinator().key_value_set_bytes(own, pickle.dumps(value))
    values = [pickle.loads(_coordinator().blocking_key_value_get_bytes(key, PATIENCE_MS)) for key in keys]
    barrier("gathered")
    _coordinator().key_value_delete(own)
    return values


def broadcast(tree):
    """Process 0's arrays in every process, bit by bit, as NumPy's; of the same shapes and types in all. Every process calls it."""
    if process_count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(to_host(tree))
    barrier("broadcast")  # the collective has no patience
    flat = np.concatenate([np.frombuffer(leaf.tobytes(), np.uint8) for leaf in leaves])
    flat = multihost_utils.broadcast_one_to_all(flat)
    parts = np.split(flat, np.cumsum([leaf.nbytes for leaf in leaves])[:-1])
    copies = [
        np.frombuffer(part.tobytes(), leaf.dtype).reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, copies)


def on_process_0(action: Callable[[], T]) -> T:
    """Runs `action` in process 0 alone; every process returns its result, which pickles, or raises its `UserError`."""
    result, error = None, None
    if process_index() == 0:
        try:
            result = action()
        except UserError as raised:
            if process_count() == 1:
                raise
            error = raised
    result, error = gather((result, error))[0]
    if error:
        raise error
    return result


class AnyProcessFlag:
    """Whether a process has raised its flag: the answer is that of the call before, and so it costs no wait.

    Every process calls it once a step, and all get the same answer at the same step. With one process it is the flag.
    """

    def __init__(self):
        self._p_any, self._asked = None, None
        if process_count() > 1:
            self._p_any = jax.pmap(lambda flag: jax.lax.pmax(flag, AXIS), axis_name=AXIS, out_axes=None)

    def __call__(self, flag: bool) -> bool:
        if self._p_any is None:
            return flag
        before, self._asked = self._asked, self._p_any(np.full(jax.local_device_count(), flag, np.int32))
        return before is not None and bool(to_host(before))


def local_devices(devices: Sequence[jax.Device] | None = None) -> list[jax.Device]:
    """The devices of this process that share the work: `devices`, or all local ones."""
    return list(devices) if devices is not None else jax.local_devices()


def num_devices(devices: Sequence[jax.Device] | None = None) -> int:
    """How many devices of all processes share the work."""
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
    """Places a copy of every leaf on each local device: a step that takes it as a donation leaves `tree` as it is."""
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
    """Compiles a `pmap_step` for these arguments, ahead of its first call, with the options its devices run fastest with."""
    device = next(iter(jax.tree.leaves(state)[0].devices()))
    compiled = compile_lowered(p_step.lower(state, batch), device.platform)
    if process_count() == 1:
        return compiled
    barrier("compiled")  # some compile longer, and the first collective has no patience
    return _spanning(compiled)


def _spanning(compiled) -> Callable:
    """The compiled step of several processes, from the rows and the copies of this one; what it returns spans all."""
    # The order of the devices is that of the processes, as in pmap: process p's rows are the p-th part of the batch.
    mesh = Mesh(sorted(jax.devices(), key=lambda device: device.process_index), (AXIS,))

    def step(state, batch):
        state = multihost_utils.host_local_array_to_global_array(
            state, mesh, PartitionSpec()
        )  # as it is, once it spans
        return compiled(state, multihost_utils.host_local_array_to_global_array(batch, mesh, PartitionSpec(AXIS)))

    step.cost_analysis = compiled.cost_analysis
    return step


def compile_lowered(lowered, platform: str):
    """Compiles a lowered training step for devices of that platform ("cpu", "gpu", "tpu")."""
    flags = os.environ.get("XLA_FLAGS", "")
    if platform == "cpu" and not any(option in flags for option in CPU_STEP_OPTIONS):
        try:
            return lowered.compile(compiler_options=CPU_STEP_OPTIONS)
        except jax.errors.JaxRuntimeError as error:
            if "option" not in str(error):  # else: a release of XLA that does not know them
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
    """`pmap_forward` from and to NumPy.

    Returns a callable `(variables, batch) -> outputs`, where every leaf of `batch` is `[B, ...]` with B a multiple of
    the number of local devices, and every output leaf is a NumPy array `[B, ...]`.
    """
    p_fn = pmap_forward(fn, devices)

    def predict(variables, batch):
        outputs = p_fn(variables, shard(batch, devices))
        return jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), outputs)

    return predict


def to_host(tree):
    """Replicated device arrays -> NumPy copies, from this process's first device alone.

    Copies: on a CPU a plain `np.asarray` would share the memory that the next, donating step overwrites.
    """
    return jax.tree.map(lambda x: np.array(x.addressable_data(0) if isinstance(x, jax.Array) else x), tree)
