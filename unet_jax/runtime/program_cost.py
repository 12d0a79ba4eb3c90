"""Measures the cost of compiled programs: operations and bytes as XLA counts them, and seconds by the clock."""

import dataclasses
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

Name = TypeVar("Name", bound=Hashable)


class Counted(Protocol):
    """A lowered or compiled program."""

    def cost_analysis(self) -> Any:
        """Returns XLA's count, by name."""
        ...


class Compiled(Counted, Protocol):
    """A compiled program."""

    def memory_analysis(self) -> Any:
        """Returns XLA's plan of the memory."""
        ...


class Operations(NamedTuple):
    """The work of one run of a program on one device.

    Attributes:
      flops: floating point operations.
      moved: bytes that the operations read and write.
    """

    flops: float
    moved: float


def count_operations(program: Counted) -> Operations:
    """Returns XLA's count of a program's work; zeros if XLA counts nothing.

    XLA counts the body of a loop once, and counts each operand at each of its uses.

    >>> import jax
    >>> a = jax.numpy.ones((8, 8))
    >>> count_operations(jax.jit(lambda a: a @ a).lower(a)).flops
    1024.0

    Args:
      program: what `.lower(...)`, `.compile()` or `parallel.compile_step` returned.
    """
    counted = program.cost_analysis() or {}
    return Operations(counted.get("flops", 0.0), counted.get("bytes accessed", 0.0))


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of one run of a compiled program on one device, as XLA counts and plans it.

    The bytes include neither the program's code nor the scratch memory that a kernel allocates while it runs.

    Attributes:
      flops: floating point operations.
      temporary: bytes of intermediate values. Two values share bytes if one is last read before the other is made.
      argument: bytes of the arguments: variables and batch.
      output: bytes of the results.
      aliased: bytes of the results that overwrite an argument, such as a training step's new state.
      moved: bytes that all operations read and write. Each operand counts at each of its uses, so this is more than what
        passes through the memory if a cache holds some of it.
    """

    flops: float
    temporary: int
    argument: int
    output: int
    aliased: int = 0
    moved: float = 0.0

    @classmethod
    def of(cls, program: Compiled) -> "Cost":
        """Returns the cost of a compiled program."""
        memory: Any = program.memory_analysis()
        counted = count_operations(program)
        return cls(
            flops=counted.flops,
            temporary=int(memory.temp_size_in_bytes),
            argument=int(memory.argument_size_in_bytes),
            output=int(memory.output_size_in_bytes),
            aliased=int(memory.alias_size_in_bytes),
            moved=counted.moved,
        )

    @property
    def peak(self) -> int:
        """Bytes held at once: temporaries + arguments + results − results that overwrite arguments."""
        return self.temporary + self.argument + self.output - self.aliased


def in_turns(runs: Mapping[Name, Callable[[int], object]], rounds: int) -> dict[Name, list[float]]:
    """Times several programs in turn, each once a round, so that other load on the machine affects all of them alike.

    Args:
      runs: functions by name. Each gets the number of the round, from 0, and returns when its work is done.
      rounds: the number of timed rounds. A round before them, also with number 0, warms up and is not timed.

    Returns:
      The seconds of each round, by name.
    """
    seconds: dict[Name, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(0)
    for number in range(rounds):
        for name, run in runs.items():
            begin = time.perf_counter()
            run(number)
            seconds[name].append(time.perf_counter() - begin)
    return seconds
