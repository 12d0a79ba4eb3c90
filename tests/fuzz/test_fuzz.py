"""A small part of the fuzz program (python -m tests.fuzz): every kind of input, and the program's own judgement."""

import time

import pytest

from tests.fuzz import outcomes as judged
from unet_jax.errors import UserError


def refuse(message):
    raise UserError(message)


@pytest.mark.parametrize(
    ("use", "wanted"),
    [
        (lambda: 1, judged.ACCEPTED),
        (lambda: refuse("seed -1: give 0"), judged.REFUSED),
        (lambda: refuse("give 0"), judged.WRONG),
        (lambda: refuse("seed -1:\ngive 0"), judged.WRONG),
        (lambda: 2, judged.WRONG),
        (lambda: [][0], judged.TRACEBACK),
        (lambda: time.sleep(5), judged.HANG),
    ],
)
def test_what_became_of_an_input(use, wanted):
    outcome = judged.attempt(
        "a", "seed=-1", use, names="seed", is_wrong=lambda result: "is 2" if result == 2 else "", seconds=0.2
    )
    assert outcome.outcome == wanted
    assert outcome.kind == "a"


def test_the_table_counts():
    counted = judged.table([judged.Outcome("b", "hang", ""), *[judged.Outcome("a", "refused", "")] * 2])
    assert counted.splitlines()[2:] == [
        "| a | 2 | 0 | 2 | 0 | 0 | 0 |",
        "| b | 1 | 0 | 0 | 0 | 1 | 0 |",
        "| all | 3 | 0 | 2 | 0 | 1 | 0 |",
    ]
