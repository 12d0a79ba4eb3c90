"""Groups of parameters: frozen ones, and ones whose learning rate is multiplied by a factor.

A group is a pattern of names. The name of a parameter is its path, as in the checkpoint: "enc_0/conv_0/kernel". A pattern is
written as in a shell: `*` stands for any characters, including slashes, so "encoder/*" is the whole encoder.
"""

import fnmatch
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import optax

from unet_jax.errors import UserError

Tree = TypeVar("Tree")


def match_patterns(params: Any, patterns: Sequence[str], key: str) -> Any:
    """Returns, for each parameter, the index of the last pattern that matches its name.

    >>> params = {"encoder": {"kernel": 0.5, "bias": 0.1}, "head": {"bias": 0.2}}
    >>> match_patterns(params, ("encoder/*", "*/bias"), "optim.freeze")
    {'encoder': {'bias': 1, 'kernel': 0}, 'head': {'bias': 1}}

    Args:
      params: a pytree of dicts.
      patterns: patterns of names.
      key: the key of the patterns in the config, for the error.

    Returns:
      A tree like `params` of indices into `patterns`, -1 for a parameter that no pattern matches.

    Raises:
      UserError: a pattern matches no parameter.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    matches = [[i for i, pattern in enumerate(patterns) if fnmatch.fnmatchcase(name, pattern)] for name in names]
    for i, pattern in enumerate(patterns):
        if not any(i in indices for indices in matches):
            tops = sorted({f"{name.partition('/')[0]}/*" if "/" in name else name for name in names})
            raise UserError(
                f"{key}: no parameter matches {pattern!r}; there are {', '.join(tops)}, such as {', '.join(names[:3])}"
            )
    return jax.tree.unflatten(structure, [max(indices, default=-1) for indices in matches])


def freeze_matching(tx: optax.GradientTransformation, freeze: Sequence[str]) -> optax.GradientTransformation:
    """Returns an optimiser that never changes some parameters and keeps no state for them.

    Args:
      tx: the optimiser of all other parameters.
      freeze: patterns of the names of the parameters that do not change.

    Raises:
      UserError: from the optimiser's `init`: a pattern matches no parameter, or together they match all.
    """

    def labels(params):
        indices = match_patterns(params, freeze, "optim.freeze")
        if min(jax.tree.leaves(indices)) >= 0:
            raise UserError(f"optim.freeze {tuple(freeze)!r} freezes every parameter; leave some to train")
        return jax.tree.map(lambda index: "trained" if index < 0 else "frozen", indices)

    return optax.partition({"trained": tx, "frozen": optax.set_to_zero()}, labels)


def scale_learning_rates(lr_multipliers: Sequence[tuple[str, float]]) -> optax.GradientTransformation:
    """Returns a transformation that multiplies the changes of some parameters by a factor.

    Args:
      lr_multipliers: pairs of a pattern of names and a factor; if several patterns match, the last one counts.

    Raises:
      UserError: from the transformation's `init`: a pattern matches no parameter.
    """
    patterns, factors = zip(*lr_multipliers, strict=True)

    def init(params):
        # Raises an error if a pattern matches nothing.
        match_patterns(params, patterns, "optim.lr_multipliers")
        return optax.EmptyState()

    def update(updates, state, params=None):
        del params
        indices = match_patterns(updates, patterns, "optim.lr_multipliers")
        return jax.tree.map(lambda index, u: u if index < 0 else factors[index] * u, indices, updates), state

    return optax.GradientTransformation(init, update)


def stop_frozen_gradients(params: Tree, freeze: Sequence[str]) -> Tree:
    """Returns `params`, where the gradient of frozen parameters is 0 and is not computed.

    Args:
      params: a pytree of dicts.
      freeze: patterns of the names of the frozen parameters.

    Raises:
      UserError: a pattern matches no parameter.
    """
    if not freeze:
        return params
    indices = match_patterns(params, freeze, "optim.freeze")
    return jax.tree.map(lambda index, p: p if index < 0 else jax.lax.stop_gradient(p), indices, params)
