"""Counts the all-reduces in the text of a compiled program.

The text is the only public form of a compiled program that has them: `cost_analysis` does not count communication. An
all-reduce in a loop counts once for every round of the loop.
"""

import math
import re

REDUCE = re.compile(r" = (\S.*?) all-reduce(?:-start)?\(")
ARRAY = re.compile(r"([a-z]+\d+|pred)\[([\d,]*)\]")
COMPUTATION = re.compile(r"(?:ENTRY )?%?([\w.-]+) .*\{$")
LOOP = re.compile(r' while\(.*body=%?([\w.-]+).*"known_trip_count":\{"n":"(\d+)"')


def count_reduces(text: str) -> tuple[int, int]:
    """Counts the all-reduces in one run of a program.

    Args:
      text: text of an XLA executable (`.as_text()`). The body of a loop with an unknown number of rounds counts once.

    Returns:
      The number of all-reduces, and the bytes of their results.

    >>> count_reduces("  %sum = f32[2,4]{1,0} all-reduce(%gradient), channel_id=1")
    (1, 32)
    """
    # By the name of a loop's body, the computation that holds the loop, and the number of rounds.
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
    bits = 8 if dtype == "pred" else int(re.sub(r"\D", "", dtype))
    return math.prod(int(n) for n in shape.split(",") if n) * max(bits // 8, 1)
