"""Reports in one line that something does not fit into the memory: what it takes, what is free, and the remedy."""

import contextlib
import re
from collections.abc import Iterator, Sequence

import jax

from unet_jax.errors import UserError
from unet_jax.runtime.memory import free_device_memory, free_host_memory
from unet_jax.runtime.program_cost import Compiled, Cost

REMEDY = "use smaller images, batches or networks, or a machine with more memory"

# What JAX writes: "Out of memory allocating 8 bytes", "while trying to allocate 4.00GiB"; and NumPy: "Unable to allocate 2. GiB".
_ASKED = re.compile(r"allocat\w* (\d[\d.]*) ?(bytes|[KMGT]i?B?)")
_UNITS = {"b": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class OutOfMemory(UserError):
    """Reports that something does not fit into the memory of the device or of the machine, or into the part that it may take.

    Args:
      message: see `UserError`.
      over_budget: the bytes that it takes, where they are more than it may take; else 0.
    """

    def __init__(self, message: str, over_budget: float = 0.0):
        super().__init__(message)
        self.over_budget = over_budget


class _TooLargePlan(MemoryError):
    """A compiled program that would not fit.

    Args:
      asked: bytes that it takes, as the compiler plans them.
      budget: bytes that it may take; None for what is free.
    """

    def __init__(self, asked: float, budget: float | None = None):
        super().__init__(asked)
        self.asked, self.budget = asked, budget


def translate_memory_error(
    error: BaseException,
    what: str = "the program",
    remedy: str = REMEDY,
    devices: Sequence[jax.Device] | None = None,
) -> OutOfMemory | None:
    """Returns the error for the user if JAX, NumPy or Python ran out of memory, and None for any other error.

    Args:
      error: any error.
      what: what does not fit, for the message.
      remedy: the end of the message.
      devices: the devices that it ran on; all local ones by default.
    """
    by_jax = isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
    if not by_jax and not isinstance(error, MemoryError):
        return None
    devices = list(devices or jax.local_devices())
    on_host = devices[0].platform == "cpu" or not by_jax
    free = free_host_memory() if on_host else free_device_memory(devices[0])
    kind = "" if on_host else f" of the device ({devices[0].device_kind})"
    asked = _asked_bytes(error)
    numbers = f"{asked / 1e9:.3g} GB were asked for" if asked else "the number of bytes is not known"
    if isinstance(error, _TooLargePlan) and error.budget is not None:
        return OutOfMemory(
            f"{what} takes {asked / 1e9:.3g} GB, and the budget is {error.budget / 1e9:.3g} GB; give more memory", asked
        )
    numbers += "" if free is None else f", {free / 1e9:.3g} GB are free"
    return OutOfMemory(f"{what} does not fit into the memory{kind}: {numbers}; {remedy}")


@contextlib.contextmanager
def report_out_of_memory(
    what: str, remedy: str = REMEDY, devices: Sequence[jax.Device] | None = None
) -> Iterator[None]:
    """Turns what JAX, NumPy or Python raise inside the context where the memory is full into an `OutOfMemory`.

    Args:
      what: see `translate_memory_error`.
      remedy: see `translate_memory_error`.
      devices: see `translate_memory_error`.

    Raises:
      OutOfMemory: the memory is full.
    """
    try:
        yield
    except Exception as error:
        if translated := translate_memory_error(error, what, remedy, devices):
            raise translated from error
        raise


def check_fits(program: Compiled, devices: Sequence[jax.Device], *, scale: float = 1.0) -> None:
    """Checks, before a program runs on a CPU, that its memory is there. `report_out_of_memory` makes the error a line.

    A CPU's allocation that does not fit may end the process without an error: Linux kills it, or a kernel of XLA aborts.
    An accelerator raises an error, so nothing is checked there.

    Args:
      program: the compiled program. Its arguments exist already, so they are not counted.
      devices: the devices that run it at the same time.
      scale: the check is made for this many times the planned bytes.

    Raises:
      MemoryError: the planned bytes are more than what is free.
    """
    if devices[0].platform != "cpu":
        return
    cost = Cost.of(program)
    # The devices of a CPU share its memory.
    check_free((cost.peak - cost.argument) * len(devices), scale)


def check_within(program: Compiled, budget: float, scale: float, num_devices: int) -> None:
    """Checks that a program stays within a budget. `report_out_of_memory` makes the error a line.

    Args:
      program: the compiled program. Its arguments exist already, so they are not counted.
      budget: bytes on all devices.
      scale: temporaries count so many times.
      num_devices: the devices that run it at the same time.

    Raises:
      MemoryError: the planned bytes are more than the budget.
    """
    cost = Cost.of(program)
    planned = num_devices * (scale * cost.temporary + cost.output)
    if planned > budget:
        raise _TooLargePlan(planned, budget)


def check_free(planned: float, scale: float = 1.0) -> None:
    """Checks that this machine has so many bytes free. `report_out_of_memory` makes the error a line.

    Args:
      planned: the bytes.
      scale: the check is made for this many times the bytes.

    Raises:
      MemoryError: they are more than what is free.
    """
    free = free_host_memory()
    if free is not None and planned * scale > free:
        raise _TooLargePlan(planned)


def _asked_bytes(error: BaseException) -> float:
    """Returns the bytes that were asked for; 0 if the message does not name them."""
    if isinstance(error, _TooLargePlan):
        return error.asked
    asked = _ASKED.search(str(error))
    return float(asked[1].rstrip(".")) * _UNITS[asked[2][0]] if asked else 0.0
