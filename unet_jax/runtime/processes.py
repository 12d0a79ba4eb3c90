"""Lets the processes of a job wait for each other and exchange values. Uses JAX's coordinator, and no device."""

import itertools
import pickle
from collections.abc import Callable
from typing import TypeVar, cast

import jax
from jax._src import distributed

from unet_jax.errors import UserError

T = TypeVar("T")

# How long a process waits for others that are alive. One of them may prepare a large data set for hours.
TIMEOUT_MS = 24 * 3600 * 1000

# All processes make the same exchanges in the same order, so their counts agree.
_exchanges = itertools.count()


def process_count() -> int:
    """Returns the number of processes of this job; 1 before `jax.distributed.initialize`. Starts no device."""
    return jax.process_count() if jax.distributed.is_initialized() else 1


def process_index() -> int:
    """Returns the number of this process, from 0. Starts no device."""
    return jax.process_index() if jax.distributed.is_initialized() else 0


def barrier(name: str) -> None:
    """Waits until every process of the job has called it with the same name.

    Uses JAX's coordinator. A collective operation of the devices would wait for at most 30 s on a CPU. If a process has
    died, this function raises JAX's error, or the coordinator ends this process.
    """
    if process_count() > 1:
        _coordinator().wait_at_barrier(f"{name} {next(_exchanges)}", TIMEOUT_MS)


def _coordinator():
    # Private to JAX. Its public modules `jax.distributed` and `multihost_utils` (0.12.0) offer only collective operations of
    # the devices, but neither the coordinator's barriers nor its key-value store.
    return distributed.global_state.client


def process_0_first(name: str, action: Callable[[], T]) -> T:
    """Runs `action` in process 0 first, then in all others.

    After an error in process 0 the others run it too, and raise the error themselves.

    Args:
      name: the name of the barrier, the same in every process.
      action: the function that every process runs.

    Returns:
      The result of this process.
    """
    if process_index():
        barrier(name)
        return action()
    try:
        result = action()
    except Exception:
        # After an interrupt there is no barrier: it ends the job.
        barrier(name)
        raise
    barrier(name)
    return result


def gather(value: T) -> list[T]:
    """Returns the `value` of every process, in the order of the processes. Every process calls it.

    The values are pickled, so they may have any type. They come from processes of the same job, which can be trusted.
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
    """Runs `action` in process 0 alone. Every process calls it.

    Args:
      action: the function; its result must be one that can be pickled.

    Returns:
      The result of process 0, in every process.

    Raises:
      UserError: `action` raised it in process 0; every process raises it.
    """
    result: T | None = None
    error: UserError | None = None
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
    return cast(T, result)
