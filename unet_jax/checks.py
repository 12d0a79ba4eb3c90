"""Checks of single values: numbers in a range, whole numbers, choices, texts, sequences of them.

An error names key, value and remedy in one line:

>>> whole(1).check("train.batch_size", 0)
Traceback (most recent call last):
unet_jax.errors.UserError: train.batch_size 0: give a whole number of at least 1
"""

import dataclasses
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from unet_jax.errors import UserError

# The largest finite float32: a larger number is infinite as soon as a device has it.
LARGEST_FLOAT = 3.4028234663852886e38
# Steps and evaluations are counted in int32 on the device.
LAST_STEP = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Domain:
    """The values that something may have.

    Attributes:
      contains: True for a value that is allowed.
      remedy: what to give instead of one that is not, e.g. "give a whole number of at least 1".
    """

    contains: Callable[[Any], bool]
    remedy: str

    def check(self, key: str, value: Any) -> None:
        """Raises UserError where `value`, which stands under `key`, is not allowed."""
        if not self.contains(value):
            raise UserError(f"{key} {value!r}: {self.remedy}")


def check_all(domains: Mapping[str, Domain], values: Mapping[str, Any], prefix: str = "") -> None:
    """Raises UserError for the first of `domains` whose value is not allowed; errors call it by `prefix` and its name."""
    for name, domain in domains.items():
        domain.check(prefix + name, values[name])


def is_number(value: Any) -> bool:
    """Returns True for a number that a device can hold: finite in float32, no bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and abs(value) <= LARGEST_FLOAT


def is_whole(value: Any) -> bool:
    """Returns True for a whole number; a bool is none, nor is 1.0."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def whole(least: int, most: float = math.inf, why: str = "") -> Domain:
    """Returns the whole numbers from `least` to `most`, both included; `why` ends the remedy."""
    up_to = f" and at most {most}" if most < math.inf else ""
    remedy = f"give a whole number of at least {least}{up_to}"
    return Domain(lambda value: is_whole(value) and least <= value <= most, _joined(remedy, why))


def number(
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
    why: str = "",
) -> Domain:
    """Returns the finite numbers from `least` (or above `above`) to `most` (or below `below`); `why` ends the remedy."""
    limits = {"at least": least, "above": above, "at most": most, "below": below}
    given = [f"{word} {limit:g}" for word, limit in limits.items() if abs(limit) < math.inf]
    remedy = "give a finite number" + (" that is " + " and ".join(given) if given else "")

    def contains(value: Any) -> bool:
        return is_number(value) and least <= value <= most and above < value < below

    return Domain(contains, _joined(remedy, why))


def choice(known: Sequence[str]) -> Domain:
    """Returns the strings of `known`."""
    listed = ", ".join(name or "''" for name in known)
    return Domain(lambda value: isinstance(value, str) and value in known, f"unknown; known: {listed}")


def text() -> Domain:
    """Returns all strings."""
    return Domain(lambda value: isinstance(value, str), "give a string")


def boolean() -> Domain:
    """Returns True and False."""
    return Domain(lambda value: isinstance(value, bool), "give True or False")


def sequence_of(each: Domain, length: int | None = None) -> Domain:
    """Returns the tuples and lists, of `length` values if it is given, whose every value is of `each`."""

    def contains(value: Any) -> bool:
        is_sequence = isinstance(value, tuple | list) and length in (None, len(value))
        return is_sequence and all(map(each.contains, value))

    many = "any number of values" if length is None else f"{length} values"
    return Domain(contains, f"give {many}; of each: {each.remedy}")


def check_finite(value: Any, key: str = "") -> None:
    """Raises UserError for a number in nested mappings and tuples that no float32 holds, by its dotted key.

    Numbers of a tuple stand under the tuple's key.
    """
    if isinstance(value, Mapping):
        for name, item in value.items():
            check_finite(item, f"{key}.{name}" if key else name)
    elif isinstance(value, tuple | list):
        for item in value:
            check_finite(item, key)
    elif isinstance(value, numbers.Real) and not abs(value) <= LARGEST_FLOAT:
        raise UserError(f"{key} {value}: give a finite number of at most {LARGEST_FLOAT:.1e} either way")


def _joined(remedy: str, why: str) -> str:
    return f"{remedy}: {why}" if why else remedy
