"""Looks whether a folder is that of a run. Imports no JAX, so that a wrong path is reported before JAX is loaded."""

import os

from unet_jax.errors import UserError
from unet_jax.storage import paths

# The end of the message for a folder without config.json.
NO_RUN = "has no config.json, so it is not the folder of a run; train first with unet-jax train"


def check_is_run(workdir: str | os.PathLike, flag: str = "--workdir") -> None:
    """Checks that a folder on this disk is that of a run. A folder in a bucket is not looked up.

    Args:
      workdir: the folder.
      flag: the flag that gives it, for the error.

    Raises:
      UserError: the folder has no config.json.
    """
    if not paths.in_bucket(workdir) and not (paths.absolute(workdir) / "config.json").exists():
        raise UserError(f"{flag}={os.fspath(workdir)} {NO_RUN}")
