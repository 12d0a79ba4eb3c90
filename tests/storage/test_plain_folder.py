"""A folder of any name has a path without special characters, which leads to the same files."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from unet_jax.errors import UserError
from unet_jax.storage import plain_folder as module
from unet_jax.storage.plain_folder import plain_folder, with_own_names


@pytest.fixture(autouse=True)
def no_old_links(monkeypatch):
    monkeypatch.setattr(module, "_links", {})


def test_a_plain_name_needs_no_link(tmp_path):
    assert str(plain_folder(tmp_path / "é-1.b")) == str(tmp_path / "é-1.b")
    assert str(plain_folder("gs://bucket/a[0]")) == "gs://bucket/a[0]"


@pytest.mark.parametrize("name", ["a[0]", "a*", "a\\b", "a b", "a\nb", "a\udcff", "gs:", "~x"])
def test_any_other_name_has_a_link(tmp_path, name, monkeypatch):
    link = plain_folder(tmp_path / name)
    assert re.fullmatch(r"[\w./-]+", str(link))
    assert plain_folder(tmp_path / name) == link
    assert plain_folder(tmp_path / "b[0]") != link
    (tmp_path / name).mkdir()
    (link / "file").write_text("text")
    assert (tmp_path / name / "file").read_text() == "text"
    monkeypatch.chdir(tmp_path)
    assert plain_folder(name) == link


def test_the_folder_of_temporary_files_may_be_odd_or_missing(tmp_path, monkeypatch):
    (tmp_path / "t[0]").mkdir()
    for given in (str(tmp_path / "t[0]"), str(tmp_path / "none")):
        monkeypatch.setattr(tempfile, "tempdir", given)
        module._links.clear()
        assert str(plain_folder(tmp_path / "a[0]")).startswith("/tmp/")

    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    module._links.clear()
    with pytest.raises(UserError, match=r"a\[0\]: .*rename the folder, or set \$TMPDIR"):
        plain_folder(tmp_path / "a[0]")


def test_the_link_is_removed_and_not_the_folder(tmp_path):
    (tmp_path / "a[0]").mkdir()
    (tmp_path / "a[0]" / "file").touch()
    (tmp_path / "t").mkdir()
    program = (
        "import sys; from unet_jax.storage.plain_folder import plain_folder as f; print(*f(sys.argv[1]).iterdir())"
    )
    env = os.environ | {"TMPDIR": str(tmp_path / "t"), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a[0]")], env=env, text=True, capture_output=True, check=True
    )
    assert done.stdout.startswith(f"{tmp_path}/t/unet_jax_")
    assert list((tmp_path / "t").iterdir()) == []
    assert (tmp_path / "a[0]" / "file").exists()


def test_a_message_names_the_folder_and_not_the_link(tmp_path):
    link = plain_folder(tmp_path / "a[0]")
    assert with_own_names(f"{link}/b is missing") == f"{tmp_path}/a[0]/b is missing"
