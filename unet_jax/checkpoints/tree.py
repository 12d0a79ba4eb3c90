"""The leaves of a tree of arrays: their names, as checkpoints hold them, and a digest of each."""

import hashlib
from typing import Any

import jax
import numpy as np


def leaf_name(path) -> str:
    """Returns the name of the leaf at a path of `jax.tree_util`, such as "params/enc_0/conv_0/kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def named_leaves(tree) -> dict[str, Any]:
    """Returns every leaf of a tree by its name."""
    return {leaf_name(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def to_nested_dict(tree) -> dict[str, Any]:
    """Returns nested dicts keyed by name alone, so that a part can be read by name and optax's types do not matter."""
    nested: dict[str, Any] = {}
    for path, leaf in jax.tree.leaves_with_path(tree):
        *parents, last = (leaf_name((key,)) for key in path)
        node = nested
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = leaf
    return nested


def leaf_digests(tree) -> dict[str, str]:
    """Returns the `leaf_digest` of every leaf by its name."""
    return {name: leaf_digest(leaf) for name, leaf in named_leaves(tree).items()}


def leaf_digest(leaf) -> str:
    """Returns the sha256 over type, shape and bytes of an array."""
    array = np.ascontiguousarray(leaf)
    header = f"{array.dtype.str}{list(np.shape(leaf))}".encode()
    return hashlib.sha256(header + array.tobytes()).hexdigest()
