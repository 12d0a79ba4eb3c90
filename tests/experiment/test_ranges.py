"""What each number of a config may be: every one is looked at, wherever it stands."""

import math

import pytest

from configs import default
from unet_jax.errors import UserError
from unet_jax.experiment import ranges
from unet_jax.runs.resume import _flat

DEFAULT = default.get_config().to_dict()
FLOATS = [key for key, value in _flat(DEFAULT).items() if isinstance(value, float)]


def changed(key, value):
    config = default.get_config()
    config.update_from_flattened_dict({key: value})
    return config.to_dict()


def test_what_the_default_says_is_allowed():
    assert len(FLOATS) > 50
    ranges.check(DEFAULT)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e39])  # the last is infinite in float32
def test_no_number_is_infinite(value):
    for key in FLOATS:
        with pytest.raises(UserError, match=f"^{key} {value} must be a finite number".replace("+", r"\+")):
            ranges.check(changed(key, value))
    for key, within in (
        ("loss.class_weights", (1.0, value)),
        ("augment.scale", (1.0, value)),
        ("optim.lr_multipliers", (("encoder/*", value),)),
        ("data.physics", {"wall": value}),
    ):
        with pytest.raises(UserError, match=f"^{key}.* must be a finite number"):
            ranges.check(changed(key, within))


@pytest.mark.parametrize(("key", "bounds"), ranges.RANGES.items())
def test_a_whole_number_is_within_its_range(key, bounds):
    least, most = bounds
    ranges.check(changed(key, least))
    with pytest.raises(UserError, match=f"^{key} {least - 1} must be at least {least}"):
        ranges.check(changed(key, least - 1))
    if most < math.inf:
        ranges.check(changed(key, most))
        with pytest.raises(UserError, match=f"^{key} {most + 1} must be .* at most {most}$"):
            ranges.check(changed(key, most + 1))
