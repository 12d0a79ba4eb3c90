"""What a compiled program costs: by XLA's own count, and by the clock, several in turn."""

import dataclasses
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


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
    """

    flops: float
    temporary: int
    argument: int
    output: int

    @classmethod
    def of(cls, program) -> "Cost":
        """Of what `.lower(...).compile()` returned."""
        memory = program.memory_analysis()
        sizes = (memory.temp_size_in_bytes, memory.argument_size_in_bytes, memory.output_size_in_bytes)
        return cls(program.cost_analysis()["flops"], *map(int, sizes))

    @property
    def peak(self) -> int:
        """Bytes held at once, temporaries + arguments + output, by a program that overwrites none of its arguments."""
        return self.temporary + self.argument + self.output


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
