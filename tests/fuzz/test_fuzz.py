"""A small part of the fuzz program (python -m tests.fuzz): every kind of input, and the program's own judgement."""

import time

import pytest

from tests.fuzz import config, values
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
        (lambda: 2, judged.WRONG),
        (lambda: [][0], judged.TRACEBACK),
        (lambda: time.sleep(5), judged.HANG),
    ],
)
def test_what_became_of_an_input(use, wanted):
    outcome = judged.attempt(
        "a", "seed=-1", use, names=("seed",), is_wrong=lambda result: "is 2" if result == 2 else "", seconds=0.2
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


@pytest.mark.parametrize(
    "changes",
    [
        {"augment.blur": (1e12, 1e12)},
        {"augment": None},
        {"train": {"nothing": 1}},
        {"model.widths": (2**63, 2**63)},
        {"optim.eps": 10**400},
        {"data.num_train": 10**9},
        {"data.patch": (10**9, 10**9)},
        {"eval.classes": {1, 2}},
        {"loss.options.focal": None},
    ],
)
def test_a_wrong_value_of_a_config_is_refused(changes):
    (key,) = changes
    base = config.Base(key.partition(".")[0], config.small())
    outcome = config.in_python(base, changes)
    assert outcome.outcome == judged.REFUSED, outcome.detail


def test_a_value_that_must_be_refused_is_wrong_where_it_is_taken():
    base = config.Base("train", config.small())
    assert config.in_python(base, {"train.log_every": 3}).outcome == judged.ACCEPTED
    assert values.never_fits(3, True)
    assert values.never_fits(0.5, "1")
    assert not values.never_fits(0.5, 1)
