"""The leaves of a tree of arrays: their names, as checkpoints hold them, and a digest of each."""

import hashlib
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike


def leaf_name(path: tuple[Any, ...]) -> str:
    """Returns the name of the leaf at a path of `jax.tree_util`, such as "params/enc_0/conv_0/kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def named_leaves(tree: Any) -> dict[str, Any]:
    """Returns every leaf of a tree by its name.

    >>> named_leaves({"params": {"head": {"bias": 0.5}}, "step": 3})
    {'params/head/bias': 0.5, 'step': 3}
    """
    return {leaf_name(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def to_nested_dict(tree: Any) -> dict[str, Any]:
    """Returns a tree as nested dicts with names as keys.

    A part of such a tree can be read by name, and the types of optax's states do not matter.
    """
    nested: dict[str, Any] = {}
    for path, leaf in jax.tree.leaves_with_path(tree):
        *parents, last = (leaf_name((key,)) for key in path)
        node = nested
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = leaf
    return nested


def leaf_digests(tree: Any) -> dict[str, str]:
    """Returns the `leaf_digest` of every leaf by its name."""
    return {name: leaf_digest(leaf) for name, leaf in named_leaves(tree).items()}


def leaf_digest(leaf: ArrayLike) -> str:
    """Returns the sha256 of an array's type, shape and bytes, as 64 hex digits.

    >>> leaf_digest(np.zeros(4)) == leaf_digest(np.zeros((2, 2)))
    False
    """
    array = np.ascontiguousarray(leaf)
    header = f"{array.dtype.str}{list(np.shape(leaf))}".encode()
    return hashlib.sha256(header + array.tobytes()).hexdigest()
