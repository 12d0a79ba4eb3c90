"""The group of scores of plates in an evaluation: from `plates` and from instances, and the intervals."""

import json

import numpy as np
import pytest
from helpers.known_network import NAMES, predictor

from unet_jax.errors import UserError
from unet_jax.evaluation.evaluate import evaluate
from unet_jax.measurement.plates.group import FactorGroup, PlateGroup, most_plates
from unet_jax.measurement.plates.intervals import fit_factor, scale
from unet_jax.measurement.plates.roles import Roles

ROLES = Roles("anode", "cathode")
BARS = ((4, 30, 1), (11, 20, 2), (18, 24, 1))


def example(ends):
    """Returns an Example of three plates that the known network finds, whose true ends are `ends`."""
    ids, instances = np.zeros((30, 40), np.uint8), np.zeros((30, 40), np.uint16)
    for number, (top, last, kind) in enumerate(BARS, 1):
        ids[top : top + 4, :last] = kind
        instances[top : top + 4, :last] = number
    plates = [
        {"kind": NAMES[kind], "end_position": [end, top + 1.5]} for (top, _, kind), end in zip(BARS, ends, strict=True)
    ]
    return {
        "image": (100 * ids)[..., None],
        "mask": ids,
        "instances": instances,
        "plates": json.dumps(plates),
        "id": "x",
    }


def test_plates_of_examples_are_scored():
    # The network finds the ends 29.5, 19.5 and 23.5.
    made = [example((29.5, 19.5, 23.5)), example((31.5, 19.5, 100))]
    group = PlateGroup(ROLES, NAMES, most_plates(made, ROLES, NAMES), factor=1.0)
    summary, rows = evaluate(predictor(), made, batch_size=2, groups=[group])
    assert group.most == 3
    assert (summary["plates/PN-ACC"], summary["plates/num_tips_outside"]) == (1, 1)
    # Of five tips, one is wrong by 2 px; of three overhangs, one.
    assert summary["plates/tip/mean"] == pytest.approx(2 / 5, abs=0.01)
    assert summary["plates/overhang/mean"] == pytest.approx(2 / 3, abs=0.01)
    assert summary["plates/interval/coverage"] == pytest.approx(2 / 3)
    assert [row["plates/num_predicted/anode"] for row in rows] == [2, 2]


def test_instances_are_plates_too():
    made = [example((0, 0, 0))]
    del made[0]["plates"]
    group = PlateGroup(ROLES, NAMES, most_plates(made, ROLES, NAMES))
    summary, _ = evaluate(predictor(), made, batch_size=1, groups=[group])
    assert (summary["plates/PN-ACC"], summary["plates/overhang/sign"]) == (1, 1)
    assert summary["plates/tip/mean"] < 0.01
    del made[0]["instances"]
    with pytest.raises(UserError, match="--metrics=plates: the data have neither plates nor instances"):
        most_plates(made, ROLES, NAMES)


def test_the_factor_is_the_quantile_of_the_errors():
    made = [example((29.5 + error, 19.5, 23.5)) for error in np.linspace(0, 3, 20)]
    group = FactorGroup(ROLES, NAMES, 3)
    summary, _ = evaluate(predictor(), made, batch_size=2, groups=[group])
    errors = np.concatenate([np.linspace(0, 3, 20), np.zeros(20)])
    expected = fit_factor(errors, np.full(40, scale(0.5, 0.5)))
    assert summary["num_overhangs"] == 40
    assert summary["factor"] == pytest.approx(expected, rel=0.02)
    assert fit_factor([1, 2], [1, 1]) == np.inf
