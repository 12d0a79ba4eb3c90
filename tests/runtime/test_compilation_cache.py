"""Compiled programs are kept below the home folder; where there is none, or it is read-only, nothing is kept."""

import os
import pwd
import sys

import pytest

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
