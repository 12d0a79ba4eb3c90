"""Programs that run once or twice."""

import functools

import jax

# They compile longer than they run, so the compiler is told not to optimise.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
