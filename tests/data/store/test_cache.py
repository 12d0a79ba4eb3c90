"""A file's digest is kept until the file changes; what the cache holds is whole or is not used."""

import json
import os
import types

import pytest

from unet_jax.data.store import cache
from unet_jax.errors import UserError

DAY = 24 * 3600


@pytest.fixture
def memo(tmp_path, monkeypatch):
    """Digests of files in `tmp_path`, whose changes are long ago; `memo.reads` lists the files that are read."""
    later = cache.time.time() + DAY
    monkeypatch.setattr(cache.time, "time", lambda: later)
    reads, read = [], cache.file_sha256
    monkeypatch.setattr(cache, "file_sha256", lambda path: reads.append(os.path.basename(path)) or read(path))
    folder = str(tmp_path / "cache")

    def digest(path):
        return cache.file_digests([path], folder)[str(path)]

    return types.SimpleNamespace(digest=digest, reads=reads, folder=folder, path=tmp_path / "cache/digests.json")


def rewrite(path, content, stat):
    """Writes other content into the same file, with the size and the time that it had."""
    path.write_bytes(content)
    assert path.stat().st_size == stat.st_size
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_file_is_read_again_only_when_it_changed(tmp_path, memo):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    one = memo.digest(path)
    assert memo.digest(path) == one
    assert memo.reads == ["file"]
    os.utime(path, (1, 1))
    assert memo.digest(path) == one
    assert memo.reads == ["file"] * 2
    path.write_bytes(b"two")
    assert memo.digest(path) != one
    # Each file has one entry, however often it changes.
    assert len(json.loads(memo.path.read_text())["value"]) == 1


def test_a_file_under_its_old_size_and_time_is_read_again(tmp_path, memo):
    path, other = tmp_path / "file", tmp_path / "other"
    path.write_bytes(b"one")
    one, stat = memo.digest(path), path.stat()
    rewrite(path, b"two", stat)
    two = memo.digest(path)
    assert two != one
    # As `cp -p`, an archive with fixed dates, or `rsync -t`: another file takes the place.
    other.write_bytes(b"six")
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)
    assert memo.digest(path) not in (one, two)


@pytest.mark.parametrize("place", [0, 50_000, 99_999])
def test_where_a_disk_keeps_no_times_the_content_tells(tmp_path, memo, monkeypatch, place):
    path = tmp_path / "file"
    path.write_bytes(bytes(100_000))
    frozen = path.stat()
    monkeypatch.setattr(cache.os, "stat", lambda path, **_: frozen)
    one = memo.digest(path)
    path.write_bytes(bytes(place) + b"1" + bytes(99_999 - place))
    assert memo.digest(path) != one
    assert memo.reads == ["file"] * 2


def test_forgotten_digests_are_read_again(tmp_path, memo, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(bytes(100_000))
    frozen = path.stat()
    monkeypatch.setattr(cache.os, "stat", lambda path, **_: frozen)
    one = memo.digest(path)
    # Between the pieces that are looked at.
    path.write_bytes(bytes(20_000) + b"1" + bytes(79_999))
    assert memo.digest(path) == one
    cache.forget_digests(memo.folder)
    assert memo.digest(path) != one
    # Nothing is remembered there.
    cache.forget_digests(str(tmp_path / "none"))
    cache.forget_digests(str(path))


def test_a_file_of_this_moment_is_read_again(tmp_path, monkeypatch):
    path, folder = tmp_path / "file", str(tmp_path / "cache")
    path.write_bytes(b"one")
    os.utime(path, (1, 1))
    # Its content was written now, whatever its time is.
    one = cache.file_digests([path], folder)[str(path)]
    monkeypatch.setattr(cache, "file_sha256", lambda path: "two")
    assert cache.file_digests([path], folder)[str(path)] != one


def test_a_file_that_changes_while_it_is_read_is_not_kept(tmp_path, memo, monkeypatch):
    path, read = tmp_path / "file", cache.file_sha256
    path.write_bytes(b"one")

    def written_meanwhile(path_read):
        digest = read(path_read)
        path.write_bytes(b"two!")
        return digest

    with monkeypatch.context() as patch:
        patch.setattr(cache, "file_sha256", written_meanwhile)
        one = memo.digest(path)
    assert memo.digest(path) != one


def test_what_is_no_file_is_refused(tmp_path, memo):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(UserError, match=rf"{name}: cannot be read \(is not a file\)"):
            memo.digest(tmp_path / name)


NONSENSE = [
    b"",
    b"{",
    b"[1, 2]",
    b"null",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"value": {"a": 1}}',
    b'{"value": {"a": 1}, "sha256": "0"}',
    b'{"value": [["a", "b"]], "sha256": 7}',
]


@pytest.mark.parametrize("content", NONSENSE)
def test_a_torn_or_foreign_file_counts_as_absent(tmp_path, memo, content):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    one = memo.digest(path)
    memo.path.write_bytes(content)
    assert memo.digest(path) == one
    assert memo.reads == ["file"] * 2
    facts = tmp_path / "cache/facts/key.json"
    facts.parent.mkdir(exist_ok=True)
    facts.write_bytes(content)
    assert cache.remember("key", lambda: {"a": 2}, memo.folder) == {"a": 2}
    assert cache.remember("key", lambda: {"a": 3}, memo.folder) == {"a": 2}


def test_entries_of_another_form_are_left_out(tmp_path, memo):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    one = memo.digest(path)
    for entry in ("text", [1, 2], ["a"], {"a": 1}, None):
        cache.write_checked(memo.path, {str(path): entry})
        assert memo.digest(path) == one


def test_facts_keep_numbers_as_keys(tmp_path):
    assert cache.remember("key", lambda: {10: 1, 9: 2}, str(tmp_path)) == {10: 1, 9: 2}
    assert cache.remember("key", lambda: {}, str(tmp_path)) == {"10": 1, "9": 2}


def test_where_the_cache_may_not_be_written_files_are_read_each_time(tmp_path, memo):
    (tmp_path / "cache").write_text("a file")
    path = tmp_path / "file"
    path.write_bytes(b"one")
    assert memo.digest(path) == memo.digest(path)
    assert memo.reads == ["file"] * 2
    with pytest.raises(UserError, match=r"facts: .*data\.cache_dir"):
        cache.remember("key", lambda: {"a": 1}, memo.folder)


def test_the_folder_is_absolute_and_needs_a_home_only_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("UNET_JAX_CACHE", "relative")
    assert str(cache.cache_folder("")) == f"{tmp_path}/relative"
    assert str(cache.cache_folder("~/a")) == f"{tmp_path}/home/a"
    monkeypatch.delenv("UNET_JAX_CACHE")
    assert str(cache.cache_folder("")) == f"{tmp_path}/home/.cache/unet_jax/data"
    monkeypatch.setenv("HOME", "~")
    with pytest.raises(UserError, match=r"no home folder.*data\.cache_dir or \$UNET_JAX_CACHE"):
        cache.cache_folder("")
    assert str(cache.cache_folder("here")) == f"{tmp_path}/here"
    with pytest.raises(UserError, match=r"data\.cache_dir=http://a .*local folder"):
        cache.cache_folder("http://a")


def test_one_file_in_the_place_of_another_is_not_taken(tmp_path):
    cache.write_checked(tmp_path / "a.json", {"channels": 1})
    assert cache.read_checked(tmp_path / "a.json") == {"channels": 1}
    (tmp_path / "a.json").rename(tmp_path / "b.json")
    assert cache.read_checked(tmp_path / "b.json") == {}
    os.mkfifo(tmp_path / "c.json")
    assert cache.read_checked(tmp_path / "c.json") == {}
