"""The client of JAX's coordinator, which connects the processes of a job. No other file imports private modules of JAX."""

from typing import Any

import jax

from unet_jax.errors import UserError

# What `processes.py` calls. Their names are those of jax 0.10 to 0.12.
METHODS = ("wait_at_barrier", "key_value_set_bytes", "blocking_key_value_get_bytes", "key_value_delete")


def client() -> Any:
    """Returns the client of this process. Needs `jax.distributed.initialize`.

    JAX's public modules `jax.distributed` and `multihost_utils` (0.10 to 0.12) have only collective operations of the
    devices. They have neither the coordinator's barriers nor its key-value store.

    Raises:
      UserError: this version of JAX has no such client, or one without the methods that are needed.
    """
    try:
        from jax._src import distributed

        found = distributed.global_state.client
    except (ImportError, AttributeError) as error:
        raise _unknown(str(error)) from error
    missing = [name for name in METHODS if not hasattr(found, name)]
    if missing:
        raise _unknown(f"its client has no {', '.join(missing)}")
    return found


def _unknown(problem: str) -> UserError:
    return UserError(
        f"jax {jax.__version__} has another coordinator than jax 0.10 to 0.12 ({problem}), so several processes cannot work "
        "together; install a jax of these versions, or start one process"
    )
