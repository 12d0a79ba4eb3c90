"""Identifies what Python source files compute: comments, docstrings and layout do not count.

The fingerprint of a data set holds the digest of the code that reads it. A reworded comment must not make a running
experiment start anew.
"""

import ast
import contextlib
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unet_jax.storage.digests import json_sha256

_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_digest(paths: Iterable[str | Path]) -> str:
    """Returns the digest of the code in some files, 64 hex digits. It is the same in every version of Python.

    The names of the files do not count; their order does. Of a file that is no Python source, every byte counts.

    Args:
      paths: local files.

    Raises:
      OSError: a file cannot be read.
    """
    digests: list[Any] = []
    for path in paths:
        content = Path(path).read_bytes()
        digests.append(hashlib.sha256(content).hexdigest())
        with contextlib.suppress(SyntaxError, ValueError):
            digests[-1] = _plain(ast.parse(content))
    return json_sha256(digests)


def _plain(node: Any) -> Any:
    """Returns a part of a syntax tree as JSON has it, without what differs between versions of Python.

    `ast.dump` and `ast.unparse` differ: newer versions add fields that are empty here, and write strings in another way.
    """
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, ast.AST):
        # The value of a constant, or a name. `1`, `1.0` and `True` differ.
        return [type(node).__name__, ascii(node)]
    fields = dict(ast.iter_fields(node))
    if isinstance(node, _WITH_DOCSTRING) and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = fields["body"][1:]
    kept = {name: _plain(value) for name, value in fields.items() if value is not None and value != []}
    # "kind" is the u of u"text".
    kept.pop("kind", None)
    return [type(node).__name__, kept]
