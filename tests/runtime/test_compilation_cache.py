"""Compiled programs are kept below the home folder; where there is none, or it is read-only, nothing is kept."""

import contextlib
import os
import pwd
import sys
import threading

import jax
import numpy as np
import pytest
from helpers.known_network import NAMES, GreyLevels
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from unet_jax.inference import predictor, program
from unet_jax.runtime import compilation_cache


@pytest.fixture
def enable(monkeypatch):
    """Calls `enable` as before JAX is imported, and returns JAX's variables."""
    names = ("JAX_ENABLE_COMPILATION_CACHE", "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
    monkeypatch.delitem(sys.modules, "jax")
    for name in (*names, "XDG_CACHE_HOME"):
        # Set first, so that monkeypatch also removes what `enable` sets.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)

    def enable(on=True, **env):
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        compilation_cache.enable(on)
        return tuple(os.environ.get(name) for name in names[:2])

    return enable


def test_kept_below_the_home_folder(enable, tmp_path):
    kind = compilation_cache.processor_kind()
    assert enable(HOME=str(tmp_path)) == (None, f"{tmp_path}/.cache/unet_jax/compiled/{kind}")


def test_below_xdg_cache_home(enable, tmp_path):
    folder = enable(XDG_CACHE_HOME=str(tmp_path / "a"), HOME="~")[1]
    assert folder == f"{tmp_path}/a/unet_jax/compiled/{compilation_cache.processor_kind()}"


def test_the_variable_of_jax_counts_more(enable, tmp_path):
    assert enable(JAX_COMPILATION_CACHE_DIR="a", HOME=str(tmp_path)) == (None, "a")
    assert list(tmp_path.iterdir()) == []


def test_off(enable, tmp_path):
    assert enable(False, HOME=str(tmp_path)) == ("false", None)
    assert list(tmp_path.iterdir()) == []


def test_without_a_home_folder_nothing_is_kept(enable, monkeypatch):
    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.delenv("HOME", raising=False)
    assert enable() == ("false", None)


def test_in_a_home_folder_that_cannot_be_written_nothing_is_kept(enable, tmp_path):
    (tmp_path / "file").touch()
    assert enable(HOME=str(tmp_path / "file")) == ("false", None)


# Programs that did not call `enable`: a context around a compile


def settings():
    return jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs


@pytest.fixture
def plain_jax(monkeypatch, tmp_path):
    """JAX with no settings of a cache; returns the folder that `shared` would use."""
    before = settings()
    monkeypatch.delenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # The programs of this file compile in no time.
    monkeypatch.setattr(compilation_cache, "MIN_COMPILE_SECS", 0.0)

    def set_to(folder, seconds):
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)
        jax.config.update("jax_enable_compilation_cache", True)
        reset_cache()

    set_to(None, 1.0)
    yield tmp_path / "unet_jax" / "compiled" / compilation_cache.processor_kind()
    set_to(*before)


@contextlib.contextmanager
def cache_hits():
    """Returns a list, to which each program is added that JAX reads from its cache."""
    hits = []

    def listener(event, **_):
        if event.endswith("/cache_hits"):
            hits.append(event)

    jax.monitoring.register_event_listener(listener)
    try:
        yield hits
    finally:
        jax.monitoring.unregister_event_listener(listener)


def compile_sum(size):
    """Compiles a program; returns whether JAX read it from its cache."""
    with cache_hits() as hits:
        jax.jit(lambda x: x + x.sum()).lower(jax.ShapeDtypeStruct((size,), "float32")).compile()
    return bool(hits)


def kept(folder):
    return len(list(folder.glob("*-cache")))


def test_shared_keeps_and_finds_and_leaves_no_setting(plain_jax):
    with compilation_cache.shared():
        assert settings() == (str(plain_jax), 0.0)
        assert not compile_sum(3)
    assert settings() == (None, 1.0)
    assert kept(plain_jax) == 1
    with compilation_cache.shared():
        assert compile_sum(3)
    # What is compiled outside is not kept, although JAX had opened the folder, and however long it takes.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    assert not compile_sum(4)
    assert kept(plain_jax) == 1


def test_shared_leaves_the_callers_settings_alone(plain_jax, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "callers"))
    with compilation_cache.shared():
        assert settings() == (str(tmp_path / "callers"), 1.0)
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 7.0)
    with compilation_cache.shared():
        assert settings() == (str(plain_jax), 7.0)
        # Set by another thread, it stays.
        jax.config.update("jax_compilation_cache_dir", str(tmp_path / "callers"))
    assert settings() == (str(tmp_path / "callers"), 7.0)


def test_shared_is_off_where_jax_keeps_nothing_or_nothing_can_be_written(plain_jax, tmp_path, monkeypatch):
    jax.config.update("jax_enable_compilation_cache", False)
    with compilation_cache.shared():
        assert settings() == (None, 1.0)
    jax.config.update("jax_enable_compilation_cache", True)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with compilation_cache.shared():
        assert settings() == (None, 1.0)
    assert not plain_jax.exists()


def test_shared_ends_with_the_last_thread(plain_jax):
    entered, leave = threading.Event(), threading.Event()

    def use():
        with compilation_cache.shared():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=use)
    with compilation_cache.shared():
        thread.start()
        assert entered.wait(10)
    assert settings() == (str(plain_jax), 0.0)
    leave.set()
    thread.join()
    assert settings() == (None, 1.0)


def test_a_later_process_finds_what_predict_has_compiled(plain_jax):
    def predict():
        # No program is left in the memory, as in a new process.
        program.shared_program.cache_clear()
        network = predictor.Predictor(GreyLevels(), {}, class_names=NAMES, pad_multiple=16)
        return network.predict(np.zeros((10, 20), np.uint8))

    with cache_hits() as hits:
        predict()
        assert (kept(plain_jax), len(hits)) == (1, 0)
        predict()
        assert (kept(plain_jax), len(hits)) == (1, 1)
    assert settings() == (None, 1.0)
