"""Makes XLA compute the same bits in every run on a GPU. On a CPU it does for one number of threads (`processor.py`)."""

import os

from unet_jax.errors import UserError

# Uses only kernels without atomic sums, and chooses none by timing. An operation that has no such kernel is an error.
OPTION = "xla_gpu_deterministic_ops"

# The first option includes the second, so setting either to false contradicts it.
CONTRADICTED_BY_FALSE = (OPTION, "xla_gpu_exclude_nondeterministic_ops")


def enable_gpu_determinism() -> None:
    """Appends the option to $XLA_FLAGS. Must be called before JAX starts its devices.

    Raises:
      UserError: $XLA_FLAGS contradicts the option, or names a file of flags.
    """
    flags = os.environ.get("XLA_FLAGS", "").strip()
    if flags and not flags.startswith("-"):
        raise UserError(
            f"--deterministic: XLA_FLAGS={flags} names a file; add --{OPTION}=true to that file and drop "
            "--deterministic, or unset XLA_FLAGS"
        )
    for flag in flags.split():
        name, _, value = flag.lstrip("-").partition("=")
        if name in CONTRADICTED_BY_FALSE and value.lower() in ("false", "0"):
            raise UserError(f"--deterministic: XLA_FLAGS contradicts it with {flag}; drop one of the two")
    if f"--{OPTION}=true" not in flags.split():
        os.environ["XLA_FLAGS"] = f"{flags} --{OPTION}=true".strip()
