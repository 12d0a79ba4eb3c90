"""A process that answers requests one by one, and is started again where it has crashed or takes too long.

    with Worker("tests.fuzz.images") as worker:
        answer = worker.ask({"path": "image.png"})

The module has a function `answer(request)`, which returns a JSON-able value. Whatever it prints is passed over. A decoder
of another project that crashes ends the worker alone.
"""

import contextlib
import importlib
import io
import json
import os
import resource
import select
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.fuzz import outcomes
from tests.fuzz.outcomes import Outcome

ROOT = Path(__file__).parents[2]
# Programs of a few pixels compile longer than they run.
JAX = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
# What an answer can be.
RETURNED, REFUSED, TRACEBACK, CRASH, HANG = "returned", "refused", "traceback", "crash", "hang"


def respond(answer: Callable[[Any], Any], request: Any) -> dict[str, Any]:
    """Calls `answer` and returns its `kind`: a value, an error of one line, or a traceback with its last line and place."""
    from unet_jax.errors import UserError

    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            value = answer(request)
    except UserError as error:
        text = str(error)
        if "\n" in text.strip() or not text.strip():
            return {"kind": TRACEBACK, "detail": f"UserError of {len(text.splitlines())} lines: {text[:120]!r}"}
        return {"kind": REFUSED, "detail": text}
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "/unet_jax/" in frame.filename] or frames[-1:]
        place = f"{ours[-1].filename.rpartition('/unet_jax/')[2]}:{ours[-1].lineno}"
        last = (str(error).splitlines() or [""])[0]
        return {"kind": TRACEBACK, "detail": f"{type(error).__name__}: {last[:160]} [{place}]"}
    return {"kind": RETURNED, "value": value, "printed": printed.getvalue()}


def judged(kind: str, given: str, answer: dict[str, Any], is_wrong: Callable[[Any], str]) -> Outcome:
    """Returns what became of an input, from the answer to its request.

    Args:
      kind: as in `Outcome`.
      given: the input in a few words.
      answer: what `ask` returned.
      is_wrong: returns what is wrong with a value that was returned; "" for nothing.
    """
    if answer["kind"] == RETURNED:
        problem = is_wrong(answer["value"])
        return Outcome(
            kind, outcomes.WRONG if problem else outcomes.ACCEPTED, f"{given}: {problem}" if problem else given
        )
    outcome = {REFUSED: outcomes.REFUSED, HANG: outcomes.HANG}.get(answer["kind"], outcomes.TRACEBACK)
    return Outcome(kind, outcome, f"{given}: {answer['detail']}")


class Worker:
    """Answers requests in a process of its own.

    Args:
      module: the module whose function `answer` is called, e.g. "tests.fuzz.images".
      limit_s: seconds that an answer may take; the first one may take a minute longer, for the imports.
      memory_bytes: the address space that the process may use; 0 for no limit.
      environment: more variables of the process's environment.
    """

    def __init__(
        self, module: str, *, limit_s: float = 30, memory_bytes: int = 0, environment: Mapping[str, str] | None = None
    ):
        self._module, self._limit_s, self._memory_bytes = module, limit_s, memory_bytes
        self._environment = (
            os.environ | JAX | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"} | (environment or {})
        )
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: Any) -> dict[str, Any]:
        """Returns the answer to a request; its `kind` is one of those above."""
        limit_s = self._limit_s
        if self._process is None:
            self._process, limit_s = self._start(), limit_s + 60
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], limit_s)[0]:
            self.close()
            return {"kind": HANG, "detail": f"no answer after {limit_s:g} s"}
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            self.close()
            return {"kind": CRASH, "detail": f"signal {-status}" if status < 0 else f"exit status {status}"}
        return json.loads(line)

    def _start(self) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "tests.fuzz.worker", self._module, str(self._memory_bytes)]
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environment)

    def close(self) -> None:
        """Ends the process; the next request starts another one."""
        if self._process:
            self._process.kill()
            self._process.communicate()
        self._process = None

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Here:
    """Answers requests in this process: quick, but a decoder that crashes ends it. Code of C is stopped when it returns."""

    def __init__(self, module: str):
        self._answer = importlib.import_module(module).answer

    def ask(self, request: Any) -> dict[str, Any]:
        """Returns the answer to a request."""
        try:
            with outcomes.time_limit(30):
                return respond(self._answer, request)
        except outcomes.Hang:
            return {"kind": HANG, "detail": "no answer after 30 s"}

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def main(module: str, memory_bytes: int) -> None:
    """Answers the requests on standard input, a JSON value a line, until it ends."""
    # What C code prints must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)
    answer = importlib.import_module(module).answer
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    for line in sys.stdin:
        answers.write(json.dumps(respond(answer, json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
