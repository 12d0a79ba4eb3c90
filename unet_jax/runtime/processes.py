"""Lets the processes of a job wait for each other and exchange values, through JAX's coordinator, without devices."""

import itertools
import pickle
from collections.abc import Callable
from typing import TypeVar

import jax
from jax._src import distributed

from unet_jax.errors import UserError

T = TypeVar("T")


# How long a process waits for others that are alive: preparing a large data set takes one of them hours.
TIMEOUT_MS = 24 * 3600 * 1000


# All processes exchange the same things in the same order, so that their counts agree.
_exchanges = itertools.count()


def process_count() -> int:
    """Returns the number of processes of this job, 1 before `jax.distributed.initialize`; starts no device."""
    return jax.process_count() if jax.distributed.is_initialized() else 1


def process_index() -> int:
    """Returns the number of this process, from 0."""
    return jax.process_index() if jax.distributed.is_initialized() else 0


def barrier(name: str) -> None:
    """Waits until every process of the job has called it with the same name, however late the last one is.

    Uses JAX's coordinator, not a collective of the devices, which waits for 30 s at most on a CPU. If a process has died
    it raises, or the coordinator ends this process.
    """
    if process_count() > 1:
        _coordinator().wait_at_barrier(f"{name} {next(_exchanges)}", TIMEOUT_MS)


def _coordinator():
    # Private to JAX: `jax.distributed` and `multihost_utils` (0.12.0) give collectives of the devices alone, neither the
    # coordinator's barriers nor its key-value store.
    return distributed.global_state.client


def process_0_first(name: str, action: Callable[[], T]) -> T:
    """Runs `action` in process 0 first, then in all others; returns each process its own result.

    After an error in process 0 the others run it too, and meet the error themselves.

    Args:
      name: the name of the barrier, the same in every process.
      action: what every process runs.
    """
    if process_index():
        barrier(name)
        return action()
    try:
        result = action()
    except Exception:
        # Not after an interrupt, which ends the job.
        barrier(name)
        raise
    barrier(name)
    return result


def gather(value: T) -> list[T]:
    """Returns the `value` of every process, in the order of the processes. Every process calls it.

    The values are pickled: they are results and `UserError`s of any kind, and come from processes of the same job.
    """
    if process_count() == 1:
        return [value]
    exchange = next(_exchanges)
    keys = [f"unet_jax/gather {exchange}/{process}" for process in range(process_count())]
    my_key = keys[process_index()]
    _coordinator().key_value_set_bytes(my_key, pickle.dumps(value))
    values = [pickle.loads(_coordinator().blocking_key_value_get_bytes(key, TIMEOUT_MS)) for key in keys]
    barrier("gathered")
    _coordinator().key_value_delete(my_key)
    return values


def on_process_0(action: Callable[[], T]) -> T:
    """Runs `action` in process 0 alone; every process returns its result, which is pickled, or raises its `UserError`."""
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
