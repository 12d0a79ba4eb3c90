"""Checks of single values: numbers in a range, whole numbers, choices, strings, sequences and mappings of them.

An error names the key, the value and the remedy in one line:

>>> whole(1).check("train.batch_size", 0)
Traceback (most recent call last):
unet_jax.errors.UserError: train.batch_size 0: give a whole number of at least 1
"""

import dataclasses
import math
import numbers
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from unet_jax.errors import UserError

# The largest finite float32. A device holds a larger number as infinite.
LARGEST_FLOAT = 3.4028234663852886e38
# The smallest float32 that a device does not round to 0.
SMALLEST_FLOAT = 1.1754943508222875e-38
# The largest int32. The device counts steps and evaluations in int32.
LAST_STEP = 2**31 - 1
# The largest height and width of a window in pixels. The device counts pixels, and products of two sides, in int32.
MOST_SIDE = 2**14
# The longest text of a value in an error.
MOST_SHOWN = 200


@dataclasses.dataclass(frozen=True)
class Domain:
    """A set of allowed values.

    Attributes:
      contains: returns True for an allowed value.
      remedy: what to give instead of any other value, e.g. "give a whole number of at least 1".
      problem: what is wrong with any other value, e.g. "is unknown"; "" where the remedy says it.
      convert: returns an allowed value in Python's own type.
    """

    contains: Callable[[Any], bool]
    remedy: str
    problem: str = ""
    convert: Callable[[Any], Any] = lambda value: value

    def check(self, key: str, value: Any) -> Any:
        """Checks that `value`, which stands under `key`, is allowed.

        >>> number().check("optim.momentum", 1), sequence_of(whole(0)).check("data.patch", [3, 4])
        (1.0, (3, 4))

        Returns:
          The value in Python's own type: where 0.5 is allowed, the whole number 1 becomes 1.0.

        Raises:
          UserError: it is not allowed.
        """
        if not self.contains(value):
            raise UserError(f"{key} {shown(value)}{f' {self.problem};' if self.problem else ':'} {self.remedy}")
        return self.convert(value)


ANYTHING = Domain(lambda value: True, "")


def shown(value: Any) -> str:
    """Returns a value as an error shows it: in one line, and in short if it is long.

    >>> shown((1, "a")), len(shown("a" * 1000))
    ("(1, 'a')", 200)
    """
    try:
        text = " ".join(repr(value).split())
    except ValueError:
        # Python writes no whole number of more than 4300 digits.
        text = f"<{type(value).__name__} with thousands of digits>"
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 3]}..."


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
    """Returns True for a number of Python or NumPy that is finite in float32; a bool is not a number here."""
    return _is_real(value) and _is_finite(value)


def is_whole(value: Any) -> bool:
    """Returns True for a whole number of at most 64 bits; neither a bool nor 1.0 is one."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and -(2**63) <= int(value) < 2**63


def whole(least: int, most: float = math.inf, why: str = "") -> Domain:
    """Returns the domain of the whole numbers from `least` to `most`, both included.

    Args:
      least: the smallest number.
      most: the largest number.
      why: the reason; it ends the remedy.
    """
    up_to = f" and at most {most}" if most < math.inf else ""
    remedy = f"give a whole number of at least {least}{up_to}"
    return Domain(lambda value: is_whole(value) and least <= value <= most, _joined(remedy, why), convert=int)


def number(
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
    why: str = "",
) -> Domain:
    """Returns the domain of the finite numbers within limits.

    A device rounds to float32, so the rounded number must also lie within `above` and `below`.

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
    if max(above, -below) > -math.inf:
        remedy += " in float32"

    def contains(value: Any) -> bool:
        # A NumPy number of 16 bits would round the limits.
        return is_number(value) and least <= float(value) <= most and above < _in_float32(value) < below

    return Domain(contains, _joined(remedy, why), convert=_to_float)


def choice(known: Sequence[str]) -> Domain:
    """Returns the domain of the strings in `known`."""
    listed = ", ".join(name or "''" for name in known)
    return Domain(lambda value: isinstance(value, str) and value in known, f"choose one of {listed}", "is unknown")


def text(*, filled: bool = False) -> Domain:
    """Returns the domain of all strings.

    Args:
      filled: True leaves out the empty string, and those of spaces alone.
    """
    remedy = "give a string that is not empty" if filled else "give a string"
    return Domain(lambda value: isinstance(value, str) and bool(value.strip() or not filled), remedy)


def boolean() -> Domain:
    """Returns the domain of True and False."""
    return Domain(lambda value: isinstance(value, bool), "give True or False")


def sequence_of(each: Domain, length: int | None = None, example: str = "") -> Domain:
    """Returns the domain of tuples and lists.

    Args:
      each: the domain of every value in them.
      length: the number of values; None for any number.
      example: an allowed value, for the remedy; "" for none.
    """

    def contains(value: Any) -> bool:
        is_sequence = isinstance(value, tuple | list) and length in (None, len(value))
        return is_sequence and all(map(each.contains, value))

    many = "any number of values" if length is None else f"{length} values"
    if example:
        many += f", such as {example}"
    return Domain(
        contains, f"give {many}; of each: {each.remedy}", convert=lambda value: tuple(map(each.convert, value))
    )


def pair_of(each: Domain, what: str) -> Domain:
    """Returns the domain of the ranges: two values, the smaller one first.

    Args:
      each: the domain of both values.
      what: the values in the plural, e.g. "factors".
    """
    both = sequence_of(each, length=2)

    def contains(value: Any) -> bool:
        return both.contains(value) and value[0] <= value[1]

    return Domain(contains, f"give two {what}, the smaller first; of each: {each.remedy}", convert=both.convert)


def mapping_of(each: Domain = ANYTHING) -> Domain:
    """Returns the domain of the mappings from strings.

    Args:
      each: the domain of every value in them.
    """

    def contains(value: Any) -> bool:
        is_mapping = isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
        return is_mapping and all(map(each.contains, value.values()))

    def convert(value: Mapping[str, Any]) -> dict[str, Any]:
        return {key: each.convert(item) for key, item in value.items()}

    of_each = f"; of each value: {each.remedy}" if each.remedy else ""
    return Domain(contains, f"give keys with values{of_each}", convert=convert)


def check_tree(value: Any, key: str) -> None:
    """Checks that nested mappings, tuples and lists hold only what a config can hold.

    These are texts, True, False, None and numbers that are finite in float32. The keys of mappings are texts without dots.

    Args:
      value: a mapping, a tuple, a list or a single value.
      key: the dotted key of the value. The values in a tuple have the key of the tuple.

    Raises:
      UserError: a value or a key is of another type; a number is too large, infinite or NaN; a text holds a NUL.
    """
    if isinstance(value, Mapping):
        for name, item in value.items():
            if not isinstance(name, str) or not name or "." in name:
                where = key or "config"
                raise UserError(f"{where} has the key {shown(name)}: give a name without dots")
            check_tree(item, f"{key}.{name}" if key else name)
    elif isinstance(value, tuple | list):
        for item in value:
            check_tree(item, key)
    elif isinstance(value, str):
        if "\0" in value:
            raise UserError(
                f"{key} {shown(value)}: holds a NUL character, which no path or name can have; leave it out"
            )
    elif _is_real(value):
        if not _is_finite(value):
            limit = f"{LARGEST_FLOAT:.1e}"
            raise UserError(f"{key} {shown(value)}: give a finite number from -{limit} to {limit}")
    elif value is not None and not isinstance(value, bool):
        raise UserError(
            f"{key} {shown(value)}: is a {type(value).__name__}; give a number, a string, True, False, a tuple or a section"
        )


def _is_real(value: Any) -> bool:
    """Returns True for a real number of Python or NumPy; False for bools, fractions and decimals."""
    if isinstance(value, int | float):
        return not isinstance(value, bool)
    return isinstance(value, numbers.Real) and hasattr(value, "dtype")


def _is_finite(value: Any) -> bool:
    """Returns True for a number that is finite in float32; False for NaN."""
    # A NumPy number of 16 bits would round the limits.
    value = value if isinstance(value, int) else float(value)
    return bool(-LARGEST_FLOAT <= value <= LARGEST_FLOAT)


def _to_float(value: Any) -> float:
    """Returns a finite number as a float: 0.0 where a device would round it to 0."""
    return float(value) if abs(value) >= SMALLEST_FLOAT else 0.0


def _in_float32(value: Any) -> float:
    """Returns a finite number rounded to float32."""
    return struct.unpack("f", struct.pack("f", _to_float(value)))[0]


def _joined(remedy: str, why: str) -> str:
    return f"{remedy}: {why}" if why else remedy
