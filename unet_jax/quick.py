"""Programs that run once or twice: they compile longer than they run, so the compiler is told not to optimise."""

from collections.abc import Callable

import jax


def quick_jit(function: Callable) -> Callable:
    """`jax.jit` that compiles quickly on a CPU: FC-DenseNet's initialisation in seconds instead of minutes.

    What it computes may differ from what the optimised program does in the last bit, never from run to run.
    """
    cpu = jax.default_backend() == "cpu"  # other compilers may not know the option
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0} if cpu else None)
