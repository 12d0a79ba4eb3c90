"""Paths that a user gives: `~`, a user without a home folder, and folders that a library could take for a bucket."""

import os
import pwd
import resource
from pathlib import Path

import pytest
from etils.epath import Path as EPath

from unet_jax.errors import UserError
from unet_jax.storage import paths


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    return tmp_path


def test_the_home_folder_replaces_a_tilde(folder):
    # A folder of this name is made by programs that know no home folder.
    (folder / "~").mkdir()
    assert paths.home_expanded("~/a") == "/home/me/a"
    assert paths.home_expanded("~") == "/home/me"
    assert paths.home_expanded("a/~/b") == "a/~/b"
    assert paths.home_expanded(Path("./~")) == "/home/me"
    assert str(paths.absolute("./~/a")) == f"{folder}/~/a"
    assert str(paths.expand("~/a", "--out")) == "/home/me/a"


def test_a_name_with_a_tilde_that_exists_is_taken_literally(folder):
    me = pwd.getpwuid(os.getuid())
    assert paths.home_expanded(f"~{me.pw_name}/a") == f"{me.pw_dir}/a"
    (folder / f"~{me.pw_name}").mkdir()
    assert paths.home_expanded(f"~{me.pw_name}/a") == f"~{me.pw_name}/a"
    # No such user.
    assert str(paths.absolute("~no_such_user/a")) == f"{folder}/~no_such_user/a"


@pytest.mark.parametrize("home", [None, "", "~", "relative"])
def test_without_a_home_folder_a_tilde_is_an_error_of_one_line(folder, monkeypatch, home):
    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.delenv("HOME") if home is None else monkeypatch.setenv("HOME", home)
    for read in (paths.absolute, paths.to_path, lambda path: paths.expand(path, "--out")):
        assert str(read(folder)) == str(folder)
        with pytest.raises(UserError, match=r"~/a: there is no home folder; set \$HOME"):
            read("~/a")


@pytest.mark.parametrize("name", ["gs", "s3", "az", "hf"])
def test_a_folder_at_the_root_is_no_bucket(name, monkeypatch):
    for read in (paths.absolute, paths.to_path, lambda path: paths.resolve(path, "--workdir")):
        path = read(f"/{name}/no_such_folder/a")
        assert not path.exists()
        assert not paths.in_bucket(path / "b")
        assert os.path.normpath(os.fspath(path.parent)).endswith(f"/{name}/no_such_folder")
    monkeypatch.setattr(os, "getcwd", lambda: f"/{name}/no_such_folder")
    assert not paths.in_bucket(paths.absolute("a/../b"))
    assert not paths.absolute("a").exists()


def test_a_removed_current_folder_is_an_error_for_a_relative_path_alone(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert str(paths.absolute(tmp_path)) == str(tmp_path)
    with pytest.raises(UserError, match=r"a: the current folder does not exist any more"):
        paths.absolute("a")


def test_a_folder_with_the_name_of_a_scheme(folder):
    (folder / "s3:").mkdir()
    for text in ("s3:/a", "s3://a", "s3:"):
        assert str(paths.absolute(text)).startswith(f"{folder}/s3:")
    assert paths.absolute("s3:").exists()


def test_a_link_whose_target_is_gone_is_named(folder):
    (folder / "link").symlink_to("gone")
    (folder / "loop").symlink_to("loop")
    (folder / "good").symlink_to(folder)
    for read in (paths.expand, paths.resolve, paths.resolve_local):
        assert read("good", "--workdir").exists()
        for name, target in (("link", "gone"), ("loop", "loop")):
            with pytest.raises(UserError, match=rf"--workdir=.*{name} is a link to {target}, which does not exist"):
                read(name, "--workdir")
            with pytest.raises(UserError, match=rf"--workdir=.*{name}/a/b: .*{name} is a link to {target}, which"):
                read(f"{name}/a/b", "--workdir")


def test_a_pipe_and_a_lost_link_are_no_files(folder):
    (folder / "a").write_text("text")
    os.mkfifo(folder / "pipe")
    (folder / "lost").symlink_to("gone")
    assert paths.read_file(folder / "a") == b"text"
    assert paths.read_if_there(EPath(folder / "none")) == ""
    with pytest.raises(OSError, match="pipe"):
        paths.read_file(folder / "pipe")
    for name, says in (("pipe", "pipe"), ("lost", "link whose target is gone")):
        with pytest.raises(OSError, match=says):
            paths.read_if_there(EPath(folder / name))


def test_a_full_disk_is_an_error_with_the_name_of_the_file(folder):
    kept, limits = paths.Path(folder / "kept"), resource.getrlimit(resource.RLIMIT_FSIZE)
    kept.write_text("old")
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        for write in (lambda: paths.write_whole(kept, b"x" * 100), lambda: paths.append(kept, "x" * 100)):
            with pytest.raises(OSError, match="File too large") as caught:
                write()
            assert caught.value.filename == str(kept)
            assert [path.name for path in folder.iterdir()] == ["kept"]
            assert kept.read_text().startswith("old")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
