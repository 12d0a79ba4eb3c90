"""What does not fit into the memory is one line: what was asked for, what is free, and the remedy."""

import contextlib
import re
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags

from unet_jax.errors import UserError
from unet_jax.runtime import cli, out_of_memory
from unet_jax.runtime.out_of_memory import OutOfMemory, check_fits, report_out_of_memory


def numpys_error():
    try:
        np.empty((1 << 45,), np.uint64)
    except MemoryError as error:
        return error


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 2621440144 bytes."), "2.62 GB"),
        (
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 4.00GiB.\n[rank 0]"),
            "4.29 GB",
        ),
        (numpys_error(), "2.81e+05 GB"),
        (MemoryError(), "not known"),
    ],
)
def test_each_library_has_its_words(error, asked):
    with pytest.raises(OutOfMemory) as caught, report_out_of_memory("the step", "take a smaller one"):
        raise error
    assert re.fullmatch(
        r"the step does not fit into the memory: .*, [\d.]+ GB are free; take a smaller one", str(caught.value)
    )
    assert asked in str(caught.value)
    assert caught.value.__cause__ is error


def test_an_accelerator_is_named_with_its_memory():
    device = SimpleNamespace(
        platform="gpu", device_kind="H200", memory_stats=lambda: {"bytes_limit": 3 * 10**9, "bytes_in_use": 10**9}
    )
    error = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 5000000000 bytes.")
    told = str(out_of_memory.translate_memory_error(error, devices=[device]))
    assert "device (H200): 5 GB were asked for, 2 GB are free; " in told


@pytest.mark.parametrize("error", [ValueError("x"), jax.errors.JaxRuntimeError("INTERNAL: x"), UserError("y")])
def test_other_errors_stay(error):
    with pytest.raises(type(error)) as caught, report_out_of_memory("the step"):
        raise error
    assert caught.value is error


def test_a_plan_beyond_the_free_memory_is_refused_on_a_cpu(monkeypatch):
    like = jax.ShapeDtypeStruct((1024, 256), jnp.float32)
    program = jax.jit(lambda a: a + 1).lower(like).compile()
    devices = jax.local_devices()
    monkeypatch.setattr(out_of_memory, "free_host_memory", lambda: 2.5e6)
    # The plan: the results, 1.05 MB. The arguments exist already.
    check_fits(program, devices[:1])
    for several, scale in ((devices[:3], 1.0), (devices[:1], 3.0)):
        with pytest.raises(OutOfMemory, match=r"0\.0025 GB are free"), report_out_of_memory("it", devices=devices):
            check_fits(program, several, scale=scale)
    # An accelerator refuses by itself.
    check_fits(program, [SimpleNamespace(platform="gpu")] * 3)
    monkeypatch.setattr(out_of_memory, "free_host_memory", lambda: None)
    check_fits(program, devices, scale=1e9)


def test_a_program_ends_in_one_line(monkeypatch, capsys):
    def main():
        raise MemoryError("Unable to allocate 16.0 GiB for an array with shape (1,) and data type float32")

    monkeypatch.setattr(sys, "argv", ["program", "--nocompilation_cache"])
    with contextlib.suppress(SystemExit):
        cli.run(main, "", flags.FlagValues())
    assert re.fullmatch(r"error: .*17\.2 GB were asked for, .*free; .*\n", capsys.readouterr().err)
