"""The leaves of a tree of arrays: their names, as checkpoints hold them, and a digest of each."""

import hashlib
from typing import Any

import jax
import numpy as np


def leaf_digests(tree) -> dict[str, str]:
    """sha256 over type, shape and bytes of every leaf, by its name."""
    return {name: leaf_digest(leaf) for name, leaf in named_leaves(tree).items()}


def leaf_digest(leaf) -> str:
    """sha256 over type, shape and bytes of an array."""
    array = np.ascontiguousarray(leaf)
    header = f"{array.dtype.str}{list(np.shape(leaf))}".encode()
    return hashlib.sha256(header + array.tobytes()).hexdigest()


def named_leaves(tree) -> dict[str, Any]:
    """Every leaf by its name, such as "params/enc_0/conv_0/kernel"."""
    return {leaf_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def leaf_name(path) -> str:
    """The name of the leaf at a path of `jax.tree_util`."""
    return "/".join(_key(part) for part in path)


def to_nested_dict(tree) -> dict[str, Any]:
    """Nested dicts keyed by name alone, so that a part can be read by name and optax's types do not matter."""
    nested: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        *parents, last = (_key(part) for part in path)
        node = nested
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = leaf
    return nested


def _key(part) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(part, attribute):
            return str(getattr(part, attribute))
    raise TypeError(f"unknown kind of key in a tree: {part!r}")
