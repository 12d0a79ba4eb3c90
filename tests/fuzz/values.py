"""Values that a key of a config may be given by mistake, and which of them no key of a type may take."""

import datetime
import decimal
import fractions
import math
import numbers
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

NUMBERS = (-1, 0, 1, 2, -0.0, -0.5, 0.5, 1.5, 3.0, 1e12, 10**12, 2**31, 2**63, 10**18, 10**400, -(10**400), 10**5000)
NUMBERS += (math.nan, math.inf, -math.inf, 1e39, -1e38, 1e38, 5e-324, 1e-30, 1 - 1e-12, 1 + 1e-12)
OTHER_NUMBERS = (np.float32(0.5), np.float64("nan"), np.int64(2), np.int8(-3), np.float16(2), fractions.Fraction(1, 3))
OTHER_NUMBERS += (decimal.Decimal("1.5"), 1j, True, False, np.bool_(True), np.array(3))
TEXTS = (
    "",
    " ",
    "text",
    "7",
    "nan",
    "True",
    "None",
    "two\nlines",
    "a\0b",
    "Größe 模型 \u202e",
    "\udc80",
    "a" * 5000,
    "../x",
)
TEXTS += (b"bytes", b"", bytearray(b"a"))
SEQUENCES: tuple[Any, ...] = (
    (),
    [],
    (1,),
    [1],
    (1, 2),
    [1, 2],
    (2, 1),
    (1, 2, 3),
    (1,) * 1000,
    ((1, 2), (3, 4)),
    [[[]]],
)
SEQUENCES += (
    (math.nan, math.nan),
    (-1, -1),
    (0, 0),
    (0.0, 0.0),
    (1e12, 1e12),
    (2**40, 2**40),
    (2**63,) * 4,
    (10**400,) * 2,
)
SEQUENCES += ((10**9, 10**9), (1e-30, 1e30), ("a", "a"), ("a", "b"), ("", ""), (True, False), (None, None), (1, "a"))
SEQUENCES += (
    ("*", "*"),
    (("*", 1.0), ("*", 1.0)),
    ((1, 1), (1, 1)),
    (1.0, 1.0),
    (0.5, 0.5),
    (0.2, 0.3, 0.5),
    (5, 5),
    (3, 2, 1),
)
SEQUENCES += (np.array([1, 2]), np.zeros(0), np.ones((2, 2)), {1, 2}, frozenset(), range(2), (1,) * 16, (2**20,) * 5)
OTHERS: tuple[Any, ...] = (
    None,
    {},
    {"a": 1},
    {"a": math.nan},
    {1: 2},
    {"a": {"b": ()}},
    {"": 0},
    {"a.b": 0},
    {None: None},
)
OTHERS += (object(), len, int, Path("a"), datetime.date(2020, 1, 1), ..., slice(1))
VALUES = (*NUMBERS, *OTHER_NUMBERS, *TEXTS, *SEQUENCES, *OTHERS)


def in_short(value: Any) -> str:
    """Returns a value in one short line."""
    try:
        text = ascii(value)
    except ValueError:
        text = "a number of more than 4300 digits"
    return text if len(text) < 80 else f"{text[:50]}... ({len(text)} characters)"


def never_fits(default: Any, value: Any) -> str:
    """Returns why a value must be refused by a key whose default is `default`; "" where it may be taken."""
    if has_nan(value):
        return "it is not finite"
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "the key takes True or False"
    if isinstance(default, numbers.Real):
        if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
            return "the key takes a number"
        if isinstance(default, int) and not isinstance(value, numbers.Integral):
            return "the key takes a whole number"
        return "it is infinite in float32" if not isinstance(value, np.generic) and abs(value) > 3.5e38 else ""
    if isinstance(default, str):
        return "" if isinstance(value, str) and "\0" not in value else "the key takes a string"
    if isinstance(default, tuple):
        return "" if isinstance(value, tuple | list) else "the key takes a tuple"
    if isinstance(default, Mapping):
        return "" if isinstance(value, Mapping) else "the key takes a section"
    return ""


def has_nan(value: Any) -> bool:
    """Returns True where a number in nested mappings and sequences is infinite or NaN."""
    if isinstance(value, Mapping):
        return any(map(has_nan, value.values()))
    if isinstance(value, tuple | list):
        return any(map(has_nan, value))
    return isinstance(value, float) and not math.isfinite(value)
