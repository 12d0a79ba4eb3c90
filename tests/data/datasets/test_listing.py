"""A folder is listed by ids; what would be lost, or would stop the program later, is named."""

import os
import socket
import unicodedata

import pytest

from unet_jax.data.datasets.listing import SUFFIXES, check_file, describe_others, list_images
from unet_jax.errors import UserError
from unet_jax.inference.inputs import find_inputs


@pytest.fixture
def images(tmp_path):
    (tmp_path / "b.png").touch()
    (tmp_path / "a.PNG").touch()
    return tmp_path


def errors_of(folder):
    errors, others = [], []
    listed = list_images(folder, errors.append, others.append)
    assert list(listed) == ["a", "b"]
    assert all("\n" not in str(error) and str(error).isprintable() for error in errors)
    return list(map(str, errors)), [path.name for path in others]


def test_files_are_listed_by_id(images):
    for name in (".hidden.png", "Thumbs.db"):
        (images / name).touch()
    (images / "c.ico").touch()
    (images / "folder").mkdir()
    assert errors_of(images) == ([], ["c.ico", "folder"])
    assert list_images(images)["a"] == images / "a.PNG"
    (images / "link.png").symlink_to(images / "b.png")
    assert list(list_images(images)) == ["a", "b", "link"]


def test_ids_are_in_one_unicode_form(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "gr\u00fcn") for form in ("NFC", "NFD"))
    (tmp_path / f"{decomposed}.png").touch()
    assert list_images(tmp_path) == {composed: tmp_path / f"{decomposed}.png"}
    (tmp_path / f"{composed}.png").touch()
    with pytest.raises(UserError, match="Unicode form; rename"):
        list_images(tmp_path)


def test_what_is_no_file_is_named(images):
    (images / "gone.png").symlink_to(images / "none.png")
    (images / "loop.png").symlink_to(images / "loop.png")
    (images / "folder.png").mkdir()
    os.mkfifo(images / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(images / "s.png"))
    errors, others = errors_of(images)
    assert others == []
    for line, name, word in zip(
        errors,
        ("folder", "gone", "loop", "pipe", "s"),
        ("is a folder", "a link", "a link", "a pipe", "a pipe"),
        strict=True,
    ):
        assert line.startswith(f"{images}/{name}.png: ")
        assert word in line
        with pytest.raises(UserError) as error:
            check_file(images / f"{name}.png")
        assert str(error.value) == line
    check_file(images / "b.png")
    check_file(images / "nothing.png")
    # Its pixels would be waited for.
    with pytest.raises(UserError, match=r"pipe\.png: .*a pipe"):
        find_inputs([images / "pipe.png"])


@pytest.mark.parametrize(
    ("name", "shown"),
    [(b"gr\xfcn", "gr\\xfcn"), (b"a\nb", "a\\nb"), (b"a\x7fb", "a\\x7fb"), (b"\xe2\x80\xa8", "\\u2028")],
)
def test_names_that_cannot_be_printed_are_named(images, name, shown):
    path = os.path.join(os.fsencode(images), name)
    open(path + b".png", "w").close()
    open(path + b".txt", "w").close()
    (line,), (other,) = errors_of(images)
    assert line.startswith(f"{images}/{shown}.png: the name ")
    assert describe_others(images, [images / other]).endswith(f": {shown}.txt")


def test_a_folder_that_is_none_is_named(tmp_path):
    with pytest.raises(UserError, match=rf"none: is not a folder; .*{SUFFIXES[0]}"):
        list_images(tmp_path / "none")
