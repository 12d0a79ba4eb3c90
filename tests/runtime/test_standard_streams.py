"""Where its output is closed, full or no longer read, a program works or ends in one line."""

import os
import subprocess
import sys

import pytest

from unet_jax.runtime import standard_streams

# It has no more imports than it needs, so that each start takes little time.
PROGRAM = """
import os
from unet_jax.runtime import standard_streams

@standard_streams.guard()
def run():
    # The number that the next opened file gets.
    file = os.open(os.devnull, os.O_RDONLY)
    {body}

run()
"""


def start(body, redirect, unbuffered=False):
    environment = os.environ | {"PYTHONPATH": os.getcwd(), "PYTHONUNBUFFERED": "1" if unbuffered else ""}
    command = f'"$0" -c "$1" {redirect}'
    result = subprocess.run(
        ["bash", "-c", command, sys.executable, PROGRAM.format(body=body)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )
    return result.returncode, result.stdout, result.stderr.strip()


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize(
    ("redirect", "status", "why"),
    [("> /dev/full", 2, "No space left on device"), ("| true; exit ${PIPESTATUS[0]}", 141, "Broken pipe")],
)
def test_output_that_is_lost_ends_the_program_in_one_line(redirect, status, why, unbuffered):
    body = "import time; time.sleep(0.2); print('a' * 100_000)"
    line = f"error: the output cannot be written ({why}); the program has ended there"
    assert start(body, redirect, unbuffered) == (status, "", line)


def test_an_error_of_another_cause_and_a_status_stay():
    with pytest.raises(FileNotFoundError), standard_streams.guard():
        raise FileNotFoundError
    with pytest.raises(SystemExit, match="7"), standard_streams.guard():
        sys.exit(7)


def test_a_stream_that_the_caller_has_closed_gives_its_number_to_no_file():
    body = "import sys; print('in', file=sys.stderr); print('out', file, sys.stdin.read())"
    assert start(body, "<&- 2>&-") == (0, "out 3 \n", "")
    assert start(body, "<&- >&-") == (0, "", "in")
