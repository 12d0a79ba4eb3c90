"""Checks of single values: at the ends of each range, and for values of other types."""

import math

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
        (checks.whole(0), (0, 10**12), (-1, 0.5)),
        (OPEN, (0.5, np.float32(0.25)), (0, 1, 0.0, 1.0, math.nan, True, "0.5", None)),
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
    assert OPEN.remedy == "give a finite number that is above 0 and below 1"
    assert "a, ''" in checks.choice(("a", "")).remedy


def test_the_first_value_that_is_not_allowed_is_named():
    with pytest.raises(UserError, match=r"^optim\.b 2:"):
        checks.check_all({"a": OPEN, "b": OPEN, "c": OPEN}, {"a": 0.5, "b": 2, "c": 3}, "optim.")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e39])
def test_numbers_that_no_device_holds_are_found_at_any_depth(value):
    checks.check_finite({"a": {"b": (1, (2.0, "x"))}, "c": None, "d": True})
    for tree, key in (
        ({"a": {"b": value}}, "a.b"),
        ({"a": (1, value)}, "a"),
        ({"a": {"b": [("x", value)]}}, "a.b"),
    ):
        with pytest.raises(UserError, match=rf"^{key} {value}:".replace("+", r"\+")):
            checks.check_finite(tree)
