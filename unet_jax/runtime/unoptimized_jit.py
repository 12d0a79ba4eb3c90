"""Compiles programs without optimisation, for those that run once or twice and would compile longer than they run."""

import functools
from collections.abc import Callable
from typing import TypeVar

import jax

Result = TypeVar("Result")


def jit_without_optimization(function: Callable[..., Result]) -> Callable[..., Result]:
    """Returns a `jax.jit` of `function` that compiles quickly on a CPU. FC-DenseNet's initialisation takes seconds, not minutes.

    The result may differ in the last bit from that of the optimised program, but never from run to run. If it is called
    inside another program (a gradient, `jax.eval_shape`), it is compiled as a part of that program.
    """
    # The compilers of other platforms may not know this option.
    on_cpu = jax.default_backend() == "cpu"
    jitted = jax.jit(function, compiler_options={"xla_backend_optimization_level": 0} if on_cpu else None)

    @functools.wraps(function)
    def call(*args):
        is_traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(args))
        return function(*args) if is_traced else jitted(*args)

    return call
