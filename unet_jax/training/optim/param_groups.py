"""Groups of parameters, by patterns of their names: those that stay frozen, those with a learning rate of their own.

A parameter's name is its path, as in the checkpoint: "enc_0/conv_0/kernel". A pattern is one of the shell's: `*` stands for
any characters, slashes too, so that "encoder/*" is the whole encoder.
"""

import fnmatch
from collections.abc import Sequence

import jax
import optax

from unet_jax.errors import UserError


def match_patterns(params, patterns: Sequence[str], key: str):
    """Finds, for each parameter, the last pattern that matches its name.

    Args:
      params: a pytree of dicts.
      patterns: of names.
      key: of the config that the patterns stand under, for the error.

    Returns:
      A tree like `params`, of the place in `patterns`, or -1 where none matches.

    Raises:
      UserError: a pattern matches no name.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    found = [[i for i, pattern in enumerate(patterns) if fnmatch.fnmatchcase(name, pattern)] for name in names]
    for i, pattern in enumerate(patterns):
        if not any(i in places for places in found):
            tops = sorted({f"{name.partition('/')[0]}/*" if "/" in name else name for name in names})
            raise UserError(
                f"{key}: no parameter's name matches {pattern!r}; there are {', '.join(tops)}, in full e.g. "
                + ", ".join(names[:3])
            )
    return jax.tree.unflatten(structure, [max(places, default=-1) for places in found])


def freeze_matching(tx: optax.GradientTransformation, freeze: Sequence[str]) -> optax.GradientTransformation:
    """Returns `tx` for the parameters that no pattern matches; the others stay as they are and have no state."""

    def labels(params):
        places = match_patterns(params, freeze, "optim.freeze")
        if min(jax.tree.leaves(places)) >= 0:
            raise UserError(f"optim.freeze {tuple(freeze)!r} freezes every parameter: nothing is left to train")
        return jax.tree.map(lambda place: "trained" if place < 0 else "frozen", places)

    return optax.partition({"trained": tx, "frozen": optax.set_to_zero()}, labels)


def scale_learning_rates(lr_multipliers: Sequence[tuple[str, float]]) -> optax.GradientTransformation:
    """Builds what multiplies the change of each parameter by the factor of the last pattern that matches its name."""
    patterns, factors = zip(*lr_multipliers, strict=True)

    def init(params):
        # Raises where a pattern matches nothing.
        match_patterns(params, patterns, "optim.lr_multipliers")
        return optax.EmptyState()

    def update(updates, state, params=None):
        del params
        places = match_patterns(updates, patterns, "optim.lr_multipliers")
        return jax.tree.map(lambda place, u: u if place < 0 else factors[place] * u, places, updates), state

    return optax.GradientTransformation(init, update)


def stop_frozen_gradients(params, freeze: Sequence[str]):
    """Returns `params`; those that a pattern matches have the gradient 0, and no program to compute it."""
    if not freeze:
        return params
    places = match_patterns(params, freeze, "optim.freeze")
    return jax.tree.map(lambda place, p: p if place < 0 else jax.lax.stop_gradient(p), places, params)
