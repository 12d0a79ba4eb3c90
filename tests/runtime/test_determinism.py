"""--deterministic and the user's $XLA_FLAGS. (tests/analysis/test_verify_resume.py runs with it on a CPU.)"""

import contextlib
import os
import sys

import pytest
from absl import flags

from unet_jax.errors import UserError
from unet_jax.runtime import cli, determinism

ASKED = "--xla_gpu_deterministic_ops=true"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ASKED),
        ("--xla_dump_to=x  --xla_foo=1", f"--xla_dump_to=x  --xla_foo=1 {ASKED}"),
        (f"{ASKED} --a", f"{ASKED} --a"),
    ],
)
def test_it_is_added_once_behind_the_users(monkeypatch, before, after):
    monkeypatch.setenv("XLA_FLAGS", before)
    determinism.enable_gpu_determinism()
    determinism.enable_gpu_determinism()
    assert os.environ["XLA_FLAGS"] == after


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("--a=1 --xla_gpu_deterministic_ops=false", "XLA_FLAGS.* --xla_gpu_deterministic_ops=false;"),
        ("--xla_gpu_exclude_nondeterministic_ops=0", "XLA_FLAGS.* --xla_gpu_exclude_nondeterministic_ops=0;"),
        ("flags.txt", "XLA_FLAGS=flags.txt .*--xla_gpu_deterministic_ops=true"),
    ],
)
def test_a_contradiction_is_refused(monkeypatch, before, message):
    monkeypatch.setenv("XLA_FLAGS", before)
    with pytest.raises(UserError, match=message):
        determinism.enable_gpu_determinism()
    assert os.environ["XLA_FLAGS"] == before


def test_flags_of_xla_are_set_before_processes_join(monkeypatch):
    """Joining starts the devices, which read $XLA_FLAGS once."""
    order = []
    values = flags.FlagValues()
    cli.define_job(values)
    monkeypatch.setattr(sys, "argv", ["program"])
    monkeypatch.setattr(cli.distributed, "join_job", lambda *_: order.append("joined") or contextlib.nullcontext())
    cli.run(lambda: order.append("main"), "", values, before=lambda: order.append("before"))
    assert order == ["before", "joined", "main"]
