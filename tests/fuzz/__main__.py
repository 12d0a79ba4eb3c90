"""Gives the project wrong inputs of every kind and counts what becomes of them.

    python -m tests.fuzz --kinds=config,images,run_files --count=600 --seed=0 --out=table.md

Each kind is a module of this folder with `outcomes(seed, count)`, which yields an `Outcome` for each input. An input is
accepted and then really usable, or refused in one line. The status is 1 if there is a traceback, a hang or a wrong result.
"""

import argparse
import contextlib
import importlib
import resource
import sys
import tempfile
from pathlib import Path

import jax

from tests.fuzz.outcomes import FAULTS, Outcome, table, versions

KINDS = ("config", "flags", "images", "data_files", "weight_files", "run_files")
# An input that asks for more memory than this gets a MemoryError; the machine is not brought to its end.
MOST_BYTES = 16 << 30


def main() -> int:
    """Runs the kinds that the command line names; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", default=",".join(KINDS), help="comma-separated; all by default")
    parser.add_argument("--count", type=int, default=600, help="number of inputs of a kind that are drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="seed of these draws")
    parser.add_argument("--out", default="", help="file for the table, in Markdown")
    given = parser.parse_args()
    # The package; and what the kinds share with the other tests, e.g. `helpers`.
    sys.path[:0] = [str(Path(__file__).absolute().parents[depth]) for depth in (2, 1)]
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    # Programs of a few pixels compile longer than they run.
    jax.config.update("jax_disable_most_optimizations", True)
    outcomes: list[Outcome] = []
    for kind in given.kinds.split(","):
        if kind not in KINDS:
            parser.error(f"--kinds={kind}: no such kind; known: {', '.join(KINDS)}")
        module = importlib.import_module(f"tests.fuzz.{kind}")
        # A relative path in an input lies in this folder.
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            for outcome in module.outcomes(given.seed, given.count):
                outcomes.append(outcome)
                if outcome.outcome in FAULTS:
                    print(f"{outcome.kind}: {outcome.outcome}: {outcome.detail}", flush=True)
    text = f"{table(outcomes)}\n{versions()}"
    print(text)
    if given.out:
        Path(given.out).write_text(text)
    return int(any(outcome.outcome in FAULTS for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
