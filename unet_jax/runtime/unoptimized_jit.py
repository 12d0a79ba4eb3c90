"""Compiles programs that run once or twice without optimisation, because they compile longer than they run."""

import functools
from collections.abc import Callable

import jax


def jit_without_optimization(function: Callable) -> Callable:
    """Returns a `jax.jit` of `function` that compiles quickly on a CPU: FC-DenseNet's initialisation in seconds, not minutes.

    The result may differ from the optimised program's in the last bit, never from run to run. Inside another program (a
    gradient, `jax.eval_shape`) it is compiled with that program.
    """
    # Compilers of other platforms may not know the option.
    on_cpu = jax.default_backend() == "cpu"
    jitted = jax.jit(function, compiler_options={"xla_backend_optimization_level": 0} if on_cpu else None)

    @functools.wraps(function)
    def call(*args):
        is_traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(args))
        return function(*args) if is_traced else jitted(*args)

    return call
