"""Checks of single values: numbers in a range, whole numbers, choices, strings, sequences of them.

An error names the key, the value and the remedy in one line:

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

# The largest finite float32. A device holds a larger number as infinite.
LARGEST_FLOAT = 3.4028234663852886e38
# The largest int32. The device counts steps and evaluations in int32.
LAST_STEP = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Domain:
    """A set of allowed values.

    Attributes:
      contains: returns True for an allowed value.
      remedy: what to give instead of any other value, e.g. "give a whole number of at least 1".
      problem: what is wrong with any other value, e.g. "is unknown"; "" where the remedy says it.
    """

    contains: Callable[[Any], bool]
    remedy: str
    problem: str = ""

    def check(self, key: str, value: Any) -> None:
        """Checks that `value`, which stands under `key`, is allowed.

        Raises:
          UserError: it is not allowed.
        """
        if not self.contains(value):
            raise UserError(f"{key} {value!r}{f' {self.problem};' if self.problem else ':'} {self.remedy}")


def check_all(domains: Mapping[str, Domain], values: Mapping[str, Any], prefix: str = "") -> None:
    """Checks a value against each domain.

    Args:
      domains: by name.
      values: by name; each name of `domains` is in it.
      prefix: of the name in an error, e.g. "optim.".

    Raises:
      UserError: a value is not allowed; the first one is named.
    """
    for name, domain in domains.items():
        domain.check(prefix + name, values[name])


def is_number(value: Any) -> bool:
    """Returns True for a number that is finite in float32; a bool is not a number here."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and _is_finite(value)


def is_whole(value: Any) -> bool:
    """Returns True for a whole number; neither a bool nor 1.0 is one."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def whole(least: int, most: float = math.inf, why: str = "") -> Domain:
    """Returns the domain of the whole numbers from `least` to `most`, both included.

    Args:
      least: the smallest number.
      most: the largest number.
      why: the reason; it ends the remedy.
    """
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
    """Returns the domain of the finite numbers within limits.

    Args:
      least: the smallest number.
      above: a limit below all numbers; not itself in the domain.
      most: the largest number.
      below: a limit above all numbers; not itself in the domain.
      why: the reason; it ends the remedy.
    """
    limits = {"at least": least, "above": above, "at most": most, "below": below}
    given = [f"{word} {limit:g}" for word, limit in limits.items() if abs(limit) < math.inf]
    remedy = "give a finite number" + (" that is " + " and ".join(given) if given else "")

    def contains(value: Any) -> bool:
        return is_number(value) and least <= value <= most and above < value < below

    return Domain(contains, _joined(remedy, why))


def choice(known: Sequence[str]) -> Domain:
    """Returns the domain of the strings in `known`."""
    listed = ", ".join(name or "''" for name in known)
    return Domain(lambda value: isinstance(value, str) and value in known, f"choose one of {listed}", "is unknown")


def text() -> Domain:
    """Returns the domain of all strings."""
    return Domain(lambda value: isinstance(value, str), "give a string")


def boolean() -> Domain:
    """Returns the domain of True and False."""
    return Domain(lambda value: isinstance(value, bool), "give True or False")


def sequence_of(each: Domain, length: int | None = None) -> Domain:
    """Returns the domain of tuples and lists.

    Args:
      each: the domain of every value in them.
      length: the number of values; None for any number.
    """

    def contains(value: Any) -> bool:
        is_sequence = isinstance(value, tuple | list) and length in (None, len(value))
        return is_sequence and all(map(each.contains, value))

    many = "any number of values" if length is None else f"{length} values"
    return Domain(contains, f"give {many}; of each: {each.remedy}")


def check_finite(value: Any, key: str = "") -> None:
    """Checks that every number in nested mappings, tuples and lists is finite in float32.

    Args:
      value: a mapping, a tuple, a list or a single value.
      key: the dotted key of the value. The numbers of a tuple have the key of the tuple.

    Raises:
      UserError: a number is too large, infinite or NaN.
    """
    if isinstance(value, Mapping):
        for name, item in value.items():
            check_finite(item, f"{key}.{name}" if key else name)
    elif isinstance(value, tuple | list):
        for item in value:
            check_finite(item, key)
    elif isinstance(value, numbers.Real) and not _is_finite(value):
        limit = f"{LARGEST_FLOAT:.1e}"
        raise UserError(f"{key} {value}: give a finite number from -{limit} to {limit}")


def _is_finite(value: numbers.Real) -> bool:
    """Returns True for a number that is finite in float32; False for NaN."""
    return bool(not value < -LARGEST_FLOAT and value <= LARGEST_FLOAT)


def _joined(remedy: str, why: str) -> str:
    return f"{remedy}: {why}" if why else remedy
