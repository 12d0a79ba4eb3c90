"""Checks of single values: at the ends of each range, and for values of other types."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from unet_jax import checks
from unet_jax.errors import UserError

WHOLE = checks.whole(1, 5, why="it counts")
OPEN = checks.number(above=0, below=1)
CLOSED = checks.number(least=0, most=1)


@pytest.mark.parametrize(
    ("domain", "allowed", "others"),
    [
        (WHOLE, (1, 5, np.int64(3)), (0, 6, 1.0, True, "1", None, math.nan)),
        (checks.whole(0), (0, 10**12), (-1, 0.5, 2**63)),
        (checks.number(least=0), (0, np.float16(1)), (Fraction(1, 2), Decimal(1), 1j)),
        (checks.pair_of(CLOSED, "shares"), ((0, 1), [0.5, 0.5]), ((1, 0), (0.5,), (0, 2), 0.5)),
        (checks.mapping_of(CLOSED), ({}, {"a": 1}), ({"a": 2}, {1: 1}, (), None)),
        (checks.text(filled=True), ("x",), ("", " ", b"x")),
        # The last two are 0 and 1 on a device.
        (OPEN, (0.5, np.float32(0.25)), (0, 1, 0.0, 1.0, math.nan, True, "0.5", None, 1e-320, 1 - 1e-12)),
        (CLOSED, (0, 1, 0.5), (-1e-9, 1 + 1e-9, math.nan, False)),
        (checks.number(), (-3, 1e38), (math.inf, -math.inf, math.nan, 1e39)),
        (checks.choice(("a", "")), ("a", ""), ("b", None, 0, ["a"])),
        (checks.text(), ("", "x"), (None, 3)),
        (checks.boolean(), (True, False), (0, 1, "True")),
        (checks.sequence_of(WHOLE, length=2), ((1, 2), [1, 5]), ((1,), (1, 2, 3), (1, 6), 3, "12", None)),
        (checks.sequence_of(OPEN), ((), (0.5,) * 3), ((0.5, 1.0), "", None)),
    ],
)
def test_domains(domain, allowed, others):
    for value in allowed:
        domain.check("section.key", value)
    for value in others:
        with pytest.raises(UserError) as caught:
            domain.check("section.key", value)
        problem = f" {domain.problem};" if domain.problem else ":"
        assert str(caught.value) == f"section.key {value!r}{problem} {domain.remedy}"


def test_a_remedy_says_what_is_allowed():
    assert WHOLE.remedy == "give a whole number of at least 1 and at most 5: it counts"
    assert OPEN.remedy == "give a finite number that is above 0 and below 1 in float32"
    assert "a, ''" in checks.choice(("a", "")).remedy


def test_the_first_value_that_is_not_allowed_is_named():
    with pytest.raises(UserError, match=r"^optim\.b 2:"):
        checks.check_all({"a": OPEN, "b": OPEN, "c": OPEN}, {"a": 0.5, "b": 2, "c": 3}, "optim.")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e39])
def test_numbers_that_no_device_holds_are_found_at_any_depth(value):
    checks.check_tree({"a": {"b": (1, (2.0, "x"))}, "c": None, "d": True}, "")
    for tree, key in (
        ({"a": {"b": value}}, "a.b"),
        ({"a": (1, value)}, "a"),
        ({"a": {"b": [("x", value)]}}, "a.b"),
    ):
        with pytest.raises(UserError, match=rf"^{key} {value}:".replace("+", r"\+")):
            checks.check_tree(tree, "")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": {"b": b"x"}}, "a.b b'x': is a bytes"),
        ({"a": (1, {2})}, "a {2}: is a set"),
        ({"a": {"b.c": 1}}, "a has the key 'b.c'"),
        ({"a": {1: 1}}, "a has the key 1"),
        ({None: 1}, "config has the key None"),
        ({"a": ("x\0",)}, r"holds a NUL"),
        ({"a": np.zeros((2, 2))}, "is a ndarray"),
    ],
)
def test_what_a_config_cannot_hold_is_found_at_any_depth(value, words):
    with pytest.raises(UserError) as caught:
        checks.check_tree(value, "")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "value", [10**5000, "a" * 5000, "two\nlines", np.zeros((2, 2))], ids=["huge", "long", "lines", "array"]
)
def test_a_value_is_shown_in_one_short_line(value):
    with pytest.raises(UserError) as caught:
        checks.boolean().check("key", value)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_a_checked_value_is_one_of_python():
    values = checks.number().check("a", 2), checks.whole(0).check("a", np.int64(2)), checks.number().check("a", 1e-320)
    assert list(map(repr, values)) == ["2.0", "2", "0.0"]
    assert checks.sequence_of(checks.number()).check("a", [1, np.float32(0.5)]) == (1.0, 0.5)
