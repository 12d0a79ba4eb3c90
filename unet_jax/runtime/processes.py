"""Lets the processes of a job wait for each other and exchange values. Uses JAX's coordinator, and no device.

Values travel as JSON, arrays as their bytes behind a header in JSON. Nothing that another process has sent is unpickled, and
what does not have the expected form is an error that names the process and the value.
"""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import jax
import numpy as np

from unet_jax.errors import UserError
from unet_jax.runtime import coordinator

T = TypeVar("T")

# How long a process waits for others that are alive. One of them may prepare a large data set for hours.
TIMEOUT_MS = 24 * 3600 * 1000

# The values are there when they are read; they only have to travel.
READ_TIMEOUT_MS = 600 * 1000

SAME_PROGRAM = "start every process of the job with the same command and the same versions of the packages"

# All processes make the same exchanges in the same order, so their counts agree.
_exchanges = itertools.count()
# The key of this process's last exchange, which every process has read when the next exchange is reached.
_read_by_all: list[str] = []


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

    Raises:
      UserError: another process is at another place of the program.
    """
    if process_count() > 1:
        _exchange(f"barrier {name}")


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


def gather(value: T, timeout_ms: int = TIMEOUT_MS) -> list[T]:
    """Returns the `value` of every process, in the order of the processes. Every process calls it.

    Args:
      value: what JSON holds exactly: None, a bool, int, float or str, and lists and dicts of these. The keys of a dict are
        str. NaN, infinities and text that is not UTF-8 (as in names of files) arrive as they are.
      timeout_ms: how long to wait for the other processes.

    Raises:
      TypeError: JSON would change the value.
      UserError: another process has sent a value of another type, or something else.
    """
    _check_exact(value)
    if process_count() == 1:
        return [value]
    values = [content for content, _ in _exchange("value", value, timeout_ms=timeout_ms)]
    for process, other in enumerate(values):
        if type(other) is not type(value):
            raise UserError(
                f"process {process} sent {other!r:.80}, a {type(other).__name__}, and process {process_index()} has a "
                f"{type(value).__name__}; {SAME_PROGRAM}"
            )
    return values


def gather_arrays(arrays: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Returns the arrays of every process, in the order of the processes. Every process calls it.

    Args:
      arrays: by name. Names, types and shapes are the same in every process.

    Raises:
      TypeError: an array holds Python objects.
      UserError: the arrays of another process have other names, types or shapes.
    """
    # In one order, whatever that of the dict is.
    arrays = {name: np.asarray(arrays[name]) for name in sorted(arrays)}
    expected = describe_arrays(arrays)
    if process_count() == 1:
        return [arrays]
    gathered = []
    body = b"".join(array.tobytes() for array in arrays.values())
    for process, (description, other) in enumerate(_exchange("arrays", expected, body)):
        if description != expected or len(other) != len(body):
            differing = {**expected, **description} if isinstance(description, dict) else {}
            name = next((n for n in differing if description.get(n) != expected.get(n)), "")
            theirs = description.get(name) if name else f"{len(other)} bytes"
            raise UserError(
                f"process {process} sent the array {name!r} as {theirs}, and process {process_index()} has "
                f"{expected.get(name) if name else f'{len(body)} bytes'}; {SAME_PROGRAM}"
            )
        offset, parts = 0, {}
        for name, like in arrays.items():
            flat = np.frombuffer(other, like.dtype, count=like.size, offset=offset)
            parts[name], offset = flat.reshape(like.shape).copy(), offset + like.nbytes
        gathered.append(parts)
    return gathered


def describe_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Returns the type and shape of each array, such as "float32[3, 4]".

    Raises:
      TypeError: an array holds Python objects.
    """
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"the array {name!r} holds Python objects, which are not sent to other processes")
    return {name: f"{array.dtype}{list(array.shape)}" for name, array in arrays.items()}


def check_same(values: Mapping[str, Any], remedy: str = SAME_PROGRAM, timeout_ms: int = TIMEOUT_MS) -> None:
    """Checks that every process has the same values. Every process calls it, and waits for the others.

    Args:
      values: by name, for `gather`.
      remedy: the end of the error message.
      timeout_ms: how long to wait for the other processes.

    Raises:
      UserError: the values differ; raised in every process. The first one that differs is named, with two of its values.
    """
    first, *others = gather(dict(values), timeout_ms)
    for process, other in enumerate(others, 1):
        differing = [name for name in {**first, **other} if _as_json(first.get(name)) != _as_json(other.get(name))]
        if differing:
            name = differing[0]
            more = f" (and {', '.join(differing[1:4])} differ)" if differing[1:] else ""
            raise UserError(
                f"the processes of this job differ: {name} is {first.get(name)!r} in process 0 and {other.get(name)!r} in "
                f"process {process}{more}; {remedy}"
            )


def on_process_0(action: Callable[[], T]) -> T:
    """Runs `action` in process 0 alone. Every process calls it.

    Args:
      action: the function; its result is a value for `gather`.

    Returns:
      The result of process 0, in every process.

    Raises:
      UserError: `action` raised it in process 0; every process raises one with that message.
    """
    result: T | None = None
    error: UserError | None = None
    if process_index() == 0:
        try:
            result = action()
        except UserError as raised:
            error = raised
    if error and process_count() == 1:
        raise error
    mine = {"result": result, "error": str(error) if error else None}
    answer = cast(dict[str, Any], gather(mine)[0])
    if error:
        # As it was raised: it may be of a subclass.
        raise error
    if answer.keys() != mine.keys():
        raise UserError(f"process 0 sent {answer!r:.80}, and not the result of an action; {SAME_PROGRAM}")
    if answer["error"] is not None:
        raise UserError(answer["error"])
    return answer["result"]


def _exchange(
    kind: str, content: Any = None, body: bytes = b"", *, timeout_ms: int = TIMEOUT_MS
) -> list[tuple[Any, bytes]]:
    """Sends a message to all processes; returns content and body of the messages of all, in the order of the processes.

    A message is a line of JSON, `[kind, content, length of the body]`, and the body.

    Raises:
      UserError: another process did not come in time, or its message is not one of this kind.
    """
    coordinator_client, exchange = coordinator.client(), next(_exchanges)
    keys = [f"unet_jax/{exchange}/{process}" for process in range(process_count())]
    my_key = keys[process_index()]
    message = _as_json([kind, content, len(body)]).encode() + b"\n" + body
    coordinator_client.key_value_set_bytes(my_key, message)
    try:
        # Its name is only the number: a process that is at another place of the program must not wait for hours.
        coordinator_client.wait_at_barrier(f"unet_jax {exchange}", timeout_ms)
    except jax.errors.JaxRuntimeError as error:
        if "DEADLINE_EXCEEDED" not in str(error):
            raise
        raise UserError(
            f"another process of this job did not come to {kind!r} within {timeout_ms // 1000} s; {SAME_PROGRAM}"
        ) from error
    while _read_by_all:
        coordinator_client.key_value_delete(_read_by_all.pop())
    _read_by_all.append(my_key)
    messages = (coordinator_client.blocking_key_value_get_bytes(key, READ_TIMEOUT_MS) for key in keys)
    return [
        _read(received, key, process, kind) for process, (key, received) in enumerate(zip(keys, messages, strict=True))
    ]


def _read(message: bytes, key: str, process: int, kind: str) -> tuple[Any, bytes]:
    """Returns content and body of a message.

    Raises:
      UserError: it does not have the form that `_exchange` gives it, or is of another kind.
    """
    head, newline, body = message.partition(b"\n")
    try:
        header = json.loads(head)
    except (ValueError, RecursionError):
        header = None
    if not newline or not isinstance(header, list) or len(header) != 3 or header[2] != len(body):
        raise UserError(
            f"process {process} sent {len(message)} bytes as {key} that are no message of unet_jax ({message[:40]!r}); "
            f"{SAME_PROGRAM}"
        )
    if header[0] != kind:
        raise UserError(
            f"process {process} sent {header[0]!r} as {key}, and process {process_index()} is at {kind!r}: they are at "
            f"different places of the program; {SAME_PROGRAM}"
        )
    return header[1], body


def _check_exact(value: Any) -> None:
    """Raises TypeError where a value would come out of JSON as another one."""
    if isinstance(value, dict):
        children: Sequence[Any] = [*value.keys(), *value.values()]
        if any(type(key) is not str for key in value):
            raise TypeError(f"a dict with keys that are not str is not sent to other processes: {value!r:.80}")
    elif isinstance(value, list):
        children = value
    elif value is None or type(value) in (bool, int, float, str):
        return
    else:
        raise TypeError(f"{type(value).__name__} {value!r:.80} is not sent to other processes; JSON would change it")
    for child in children:
        _check_exact(child)


def _as_json(value: Any) -> str:
    """Returns the text that is sent. The texts of equal values are equal, and so are those of NaN and NaN."""
    return json.dumps(value, sort_keys=True)
