"""Counts the all-reduces of a compiled program in its text; those of a loop's body as often as the loop runs it.

The text is the only public form of a compiled program that has them: `cost_analysis` does not count communication.
"""

import math
import re

REDUCE = re.compile(r" = (\S.*?) all-reduce(?:-start)?\(")
ARRAY = re.compile(r"([a-z]+\d+|pred)\[([\d,]*)\]")
COMPUTATION = re.compile(r"(?:ENTRY )?%?([\w.-]+) .*\{$")
LOOP = re.compile(r' while\(.*body=%?([\w.-]+).*"known_trip_count":\{"n":"(\d+)"')


def count_reduces(text: str) -> tuple[int, int]:
    """Counts the all-reduces in a run of the program, and the bytes of their results.

    Args:
      text: of an XLA executable (`.as_text()`). A loop without a known number of rounds counts once.
    """
    # By the name of a loop's body: the computation that the loop stands in, and its rounds.
    loops: dict[str, tuple[str, int]] = {}
    reduces, inside = [], ""
    for line in text.splitlines():
        if not line.startswith(" ") and (computation := COMPUTATION.match(line)):
            inside = computation[1]
        elif loop := LOOP.search(line):
            loops[loop[1]] = (inside, int(loop[2]))
        elif result := REDUCE.search(line):
            reduces.append((inside, sum(_array_bytes(*array) for array in ARRAY.findall(result[1]))))

    def rounds(computation: str) -> int:
        above, times = loops.get(computation, ("", 1))
        return times * rounds(above) if computation in loops else 1

    return sum(rounds(where) for where, _ in reduces), sum(rounds(where) * size for where, size in reduces)


def _array_bytes(dtype: str, shape: str) -> int:
    bits = 8 if dtype == "pred" else int(re.search(r"\d+", dtype)[0])
    return math.prod(int(n) for n in shape.split(",") if n) * max(bits // 8, 1)
