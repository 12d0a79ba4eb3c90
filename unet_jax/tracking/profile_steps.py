"""Reads the flag --profile_steps. Imports no JAX, so that a wrong value is reported before JAX is loaded."""

import re

from unet_jax.errors import UserError


def read_steps(steps: str) -> tuple[int, int]:
    """Returns the first and the last step to trace; (0, 0) for none.

    >>> read_steps("10:15")
    (10, 15)

    Args:
      steps: "FIRST:LAST", both included, counted from 1; "" for none.

    Raises:
      UserError: `steps` does not have that form.
    """
    if not steps:
        return 0, 0
    match = re.fullmatch(r"(\d+):(\d+)", steps)
    first, last = map(int, match.groups()) if match else (0, 0)
    if not 1 <= first <= last:
        raise UserError(
            f"--profile_steps={steps}: give FIRST:LAST, two whole numbers of at least 1, such as 10:15 for the steps 10 to 15"
        )
    return first, last
