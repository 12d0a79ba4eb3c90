"""The evaluations at which the rate falls."""

import jax.numpy as jnp
import numpy as np
import pytest

from unet_jax.errors import UserError
from unet_jax.training.optim.plateau import create_plateau_rule, observe_score


def test_rate_falls_after_patience_evaluations_without_a_gain():
    rule = create_plateau_rule(lr_drop_factor=0.5, patience=2, gain=0.01)
    state, scales = rule.init({"kernel": jnp.zeros(2)}), []
    #           first, gain, too little, none: falls, NaN, gain, none, NaN: falls
    for score in (0.1, 0.2, 0.205, 0.2, float("nan"), 0.3, 0.1, float("nan")):
        state = observe_score(rule, state, score)
        scales.append(float(state.scale))
    np.testing.assert_array_equal(scales, [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25])


@pytest.mark.parametrize(
    ("options", "value"),
    [({"patience": 0}, "plateau_patience 0"), ({"patience": 1.5}, "patience 1.5"), ({"gain": 0.0}, "plateau_gain 0.0")],
)
def test_bad_values_are_named(options, value):
    with pytest.raises(UserError, match=value):
        create_plateau_rule(**{"lr_drop_factor": 0.5, "patience": 2, "gain": 0.01, **options})
