"""The lines that announce a compile: when they are printed, and by which process."""

import re
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from unet_jax.inference import program
from unet_jax.runtime import processes
from unet_jax.runtime.compile_notice import compile_notice


def test_it_names_the_program_the_folder_and_the_time(capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(Path(jax.config.jax_compilation_cache_dir).parent))
    # A program that another test runs in this process may have turned it off.
    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", True)
    try:
        with compile_notice("the step"):
            first = capsys.readouterr()
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
    last = capsys.readouterr()
    assert re.fullmatch(r"Compiling the step .* ~/compiled\b.*\n", first.err)
    assert re.fullmatch(r".*the step in \d+\.\d s.*\n", last.err)
    assert first.out == last.out == ""


def test_the_other_processes_print_nothing(capsys, monkeypatch):
    monkeypatch.setattr(processes, "process_index", lambda: 1)
    with compile_notice("the step"):
        pass
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("after_s", "lines"), [(0.02, 2), (60.0, 0)])
def test_a_quick_compile_is_not_announced(after_s, lines, capsys):
    with compile_notice("the step", after_s=after_s):
        time.sleep(0.2)
    assert len(capsys.readouterr().err.splitlines()) == lines


def test_an_error_ends_the_notice(capsys):
    with pytest.raises(ZeroDivisionError), compile_notice("the step", after_s=0.05):
        raise ZeroDivisionError
    time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_a_network_is_announced_once_per_size(capsys, monkeypatch):
    monkeypatch.setattr(program, "NOTICE_AFTER_S", 1e-9)
    run = program.Program(
        lambda module, mode, variables, batch: variables * batch["image"], None, "fast", jax.local_devices()[:1]
    )
    for size, announced in ((3, True), (3, False), (5, True)):
        run(np.float32(2), {"image": np.zeros((1, size, 4, 1), np.float32)})
        err = capsys.readouterr().err
        assert ("Compiling" in err) == announced
        assert not announced or f" {size} x 4 " in err
