"""What a compiled program costs: by XLA's own count, and by the clock, several in turn."""

import dataclasses
import time
from collections.abc import Callable, Hashable, Mapping
from typing import NamedTuple, TypeVar

Name = TypeVar("Name", bound=Hashable)


class Operations(NamedTuple):
    """What a program does in one run on one device: floating point operations, and bytes read and written by them."""

    flops: float
    moved: float


def count_operations(program) -> Operations:
    """Counts what a program does, by XLA's own count; zeros where XLA counts nothing.

    XLA counts the body of a loop once, and each operand wherever it is used.

    Args:
      program: what `.lower(...)` or `.compile()` returned, or a step of `parallel.compile_step`.
    """
    counted = program.cost_analysis() or {}
    return Operations(counted.get("flops", 0.0), counted.get("bytes accessed", 0.0))


@dataclasses.dataclass(frozen=True)
class Cost:
    """One run of a compiled program on one device, as XLA counts and plans it.

    Scratch that a kernel takes for itself while it runs is in none of the bytes, nor is the program's own code.

    Attributes:
      flops: floating point operations.
      temporary: bytes for what is neither given nor returned; two values share bytes where one is last read before the
        other is made.
      argument: bytes of what is given: variables and batch.
      output: bytes of what is returned.
      aliased: bytes of what is returned in the place of an argument: a training step's new state in that of the old.
      moved: bytes read and written by all operations, each operand counted wherever it is used: more than goes through
        the memory where a cache holds some.
    """

    flops: float
    temporary: int
    argument: int
    output: int
    aliased: int = 0
    moved: float = 0.0

    @classmethod
    def of(cls, program) -> "Cost":
        """Reads the cost of what `.lower(...).compile()` returned."""
        memory, counted = program.memory_analysis(), count_operations(program)
        names = ("temp", "argument", "output", "alias")
        sizes = (int(getattr(memory, f"{name}_size_in_bytes")) for name in names)
        return cls(counted.flops, *sizes, moved=counted.moved)

    @property
    def peak(self) -> int:
        """Bytes held at once: temporaries + arguments + output, less what is written over arguments."""
        return self.temporary + self.argument + self.output - self.aliased


def in_turns(runs: Mapping[Name, Callable[[int], object]], rounds: int) -> dict[Name, list[float]]:
    """Seconds of each run, each once a round, so that what else the machine does falls on all of them alike.

    Args:
      runs: by name; each is given the number of the round, from 0, and returns when its work is done.
      rounds: turns of each that are timed; one round before them, number 0 as well, warms up.
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
