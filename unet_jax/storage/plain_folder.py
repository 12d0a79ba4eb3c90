r"""Gives libraries that read special characters in a path a folder without any.

etils reads `*`, `?` and `[` in the name of a folder as a pattern, so Orbax and TFDS miss files there, or find those of a
folder that matches. TensorStore takes `\` for `/` and writes elsewhere. Others take `name@4` or `name[0:9]` for a part of a
file. A symbolic link with a plain name stands for such a folder, as long as the process lives.
"""

import atexit
import contextlib
import os
import re
import shutil
import tempfile
import threading

from etils.epath import Path

from unet_jax.errors import UserError
from unet_jax.storage.paths import PathLike, absolute, in_bucket

# Letters and digits of any language, `_`, `.`, `-` and `/`.
_PLAIN = re.compile(r"[\w./-]+")
# The link to each folder that has one.
_links: dict[str, str] = {}
_lock = threading.Lock()


def plain_folder(folder: PathLike) -> Path:
    """Returns a path to `folder` that holds no special character: the absolute path itself, or a link to it.

    The path of a bucket stays as it is. The folder need not exist, but it must before something is made in the link.

    >>> print(plain_folder("/runs/a"), plain_folder("gs://bucket/a[0]"))
    /runs/a gs://bucket/a[0]

    Args:
      folder: a folder, local or in a bucket.

    Raises:
      UserError: a link is needed, and no folder for temporary files takes one.
    """
    path = absolute(folder)
    if in_bucket(path) or _PLAIN.fullmatch(os.fspath(path)):
        return path
    text = os.fspath(path)
    with _lock:
        if text not in _links:
            _links[text] = _make_link(text)
        return Path(_links[text])


def with_own_names(text: str) -> str:
    """Returns a message of a library with the names of the folders instead of those of the links to them."""
    for folder, link in _links.items():
        text = text.replace(link, folder)
    return text


def _make_link(folder: str) -> str:
    """Returns the path of a link to `folder`, in a temporary folder that is removed when the process ends."""
    candidates = ["/tmp", "/var/tmp", "/dev/shm"]
    with contextlib.suppress(FileNotFoundError):
        candidates.insert(0, tempfile.gettempdir())
    for candidate in filter(_PLAIN.fullmatch, candidates):
        with contextlib.suppress(OSError):
            made = tempfile.mkdtemp(prefix="unet_jax_", dir=candidate)
            atexit.register(shutil.rmtree, made, ignore_errors=True)
            link = os.path.join(made, "folder")
            os.symlink(folder, link)
            return link
    raise UserError(
        f"{folder}: the name has a special character, so a link to it is needed, and no folder for temporary files can be "
        "written; rename the folder, or set $TMPDIR to a folder that you may write to"
    )
