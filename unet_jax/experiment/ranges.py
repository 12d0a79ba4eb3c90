"""What each number of a config may be, whatever the others are: finite, and a whole one within its range."""

import functools
import math
import operator
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from unet_jax.errors import UserError

LARGEST = float(np.finfo(np.float32).max)  # of a float: a larger one is infinite as soon as the device has it
LAST_STEP = 2**31 - 1  # steps and evaluations are counted in int32 on the device
RANGES = {  # the least and the largest value of whole numbers; of those not here, where they are read
    "seed": (0, 2**32 - 1),
    "train.batch_size": (1, math.inf),
    "train.log_every": (1, math.inf),
    "train.patience": (0, math.inf),
    "optim.accumulate": (1, math.inf),
    "optim.plateau_patience": (1, LAST_STEP),
    "eval.batch_size": (1, math.inf),
    "eval.pad_multiple": (1, math.inf),
    "eval.num_pictures": (0, math.inf),
    "checkpoint.every": (0, math.inf),
    "checkpoint.latest": (1, math.inf),
    "data.num_threads": (1, math.inf),
    "data.cache_bytes": (0, math.inf),
}


def check(config: Mapping[str, Any]) -> None:
    """Raises UserError for a number of the config, also one in a tuple, that is not finite, or is out of its range."""
    for key, value in _numbers(config):
        if not abs(value) <= LARGEST:
            raise UserError(f"{key} {value} must be a finite number, of at most {LARGEST:.1e} either way")
    for key, (least, most) in RANGES.items():
        value = functools.reduce(operator.getitem, key.split("."), config)
        if not least <= value <= most:
            up_to = f" and at most {most}" if most < math.inf else ""
            raise UserError(f"{key} {value} must be at least {least}{up_to}")


def _numbers(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """(key, value) of each number; those of a tuple stand under the tuple's key."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _numbers(item, f"{key}.{name}" if key else name)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item, key)
    elif isinstance(value, int | float):
        yield key, value
