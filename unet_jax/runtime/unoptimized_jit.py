"""Programs that run once or twice: they compile longer than they run, so the compiler is told not to optimise."""

import functools
from collections.abc import Callable

import jax


def jit_without_optimization(function: Callable) -> Callable:
    """`jax.jit` that compiles quickly on a CPU: FC-DenseNet's initialisation in seconds instead of minutes.

    What it computes may differ from what the optimised program does in the last bit, never from run to run. Within
    another program (a gradient, `jax.eval_shape`) it is compiled as that is.
    """
    cpu = jax.default_backend() == "cpu"  # other compilers may not know the option
    quick = jax.jit(function, compiler_options={"xla_backend_optimization_level": 0} if cpu else None)

    @functools.wraps(function)
    def call(*args):
        inside = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(args))
        return function(*args) if inside else quick(*args)

    return call
