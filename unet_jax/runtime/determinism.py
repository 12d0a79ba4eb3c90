"""What XLA is asked for where a run must give the same bits again on a GPU; on a CPU it does so anyway."""

import os

from unet_jax.errors import UserError

# Kernels without atomic sums, and none chosen by timing them; an operation that has no such kernel is an error.
OPTION = "xla_gpu_deterministic_ops"
PARTS = (OPTION, "xla_gpu_exclude_nondeterministic_ops")  # the second is a part of the first


def enable_gpu_determinism() -> None:
    """Adds the option to $XLA_FLAGS, behind what is there; to be called before JAX starts its devices.

    Raises:
      UserError: $XLA_FLAGS says the opposite, or names a file of flags.
    """
    flags = os.environ.get("XLA_FLAGS", "").strip()
    if flags and not flags.startswith("-"):
        raise UserError(
            f"--deterministic: XLA_FLAGS={flags} names a file; add --{OPTION}=true to that file and leave "
            "--deterministic out, or unset XLA_FLAGS"
        )
    for flag in flags.split():
        name, _, value = flag.lstrip("-").partition("=")
        if name in PARTS and value.lower() in ("false", "0"):
            raise UserError(f"--deterministic: XLA_FLAGS says the opposite, {flag}; leave one of them out")
    if f"--{OPTION}=true" not in flags.split():
        os.environ["XLA_FLAGS"] = f"{flags} --{OPTION}=true".strip()
