"""Makes XLA give the same bits in every run on a GPU; on a CPU it does so anyway."""

import os

from unet_jax.errors import UserError

# Kernels without atomic sums, none chosen by timing; an operation without such a kernel is an error.
OPTION = "xla_gpu_deterministic_ops"

# The second option is a part of the first.
CONTRADICTED_BY_FALSE = (OPTION, "xla_gpu_exclude_nondeterministic_ops")


def enable_gpu_determinism() -> None:
    """Appends the option to $XLA_FLAGS; must be called before JAX starts its devices.

    Raises:
      UserError: $XLA_FLAGS contradicts it, or names a file of flags.
    """
    flags = os.environ.get("XLA_FLAGS", "").strip()
    if flags and not flags.startswith("-"):
        raise UserError(
            f"--deterministic: XLA_FLAGS={flags} names a file; add --{OPTION}=true to that file and leave "
            "--deterministic out, or unset XLA_FLAGS"
        )
    for flag in flags.split():
        name, _, value = flag.lstrip("-").partition("=")
        if name in CONTRADICTED_BY_FALSE and value.lower() in ("false", "0"):
            raise UserError(f"--deterministic: XLA_FLAGS contradicts it with {flag}; leave one of them out")
    if f"--{OPTION}=true" not in flags.split():
        os.environ["XLA_FLAGS"] = f"{flags} --{OPTION}=true".strip()
