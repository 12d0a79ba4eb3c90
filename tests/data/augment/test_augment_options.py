"""Values outside the domain of an option are errors, and all options are off by default."""

import dataclasses

import pytest

from unet_jax.data.augment.options import BY_CHANCE, AugmentOptions
from unet_jax.errors import UserError


def test_all_are_off_by_default():
    assert not any(map(AugmentOptions().on, BY_CHANCE))
    assert not AugmentOptions().warps
    assert AugmentOptions(shift=1.0).warps
    assert not AugmentOptions(shift=1.0, probability={"shift": 0.0}).warps
    assert not AugmentOptions(scale=(1, 1)).on("scale")
    assert {field.name for field in dataclasses.fields(AugmentOptions)} > set(BY_CHANCE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("elastic", -1.0),
        ("noise", float("nan")),
        ("shift", "3"),
        ("elastic_grid", 1),
        ("elastic_grid", 2.5),
        ("rotate", 181.0),
        ("shear", 90.0),
        ("multiply", 1.0),
        ("scale", (0.0, 1.0)),
        ("scale", (1.4, 0.7)),
        ("scale", 1.5),
        ("blur", (-0.5, 1.0)),
        ("low_resolution", (0.5, 1.5)),
        ("cutout", -1),
        ("cutout_size", (0.1, 0.2, 0.3)),
        # Sizes of which no window could be computed.
        ("blur", (1e12, 1e12)),
        ("scale", (1e-30, 1.0)),
        ("cutout", 10**9),
        ("elastic_grid", 2**63),
        ("gamma", 1e12),
        ("flip", 1),
        ("rotate", True),
        ("probability", None),
    ],
)
def test_values_outside_their_domain_are_named(name, value):
    with pytest.raises(UserError) as caught:
        AugmentOptions(**{name: value})
    assert str(caught.value).startswith(f"augment.{name} {value!r}: ")


@pytest.mark.parametrize(
    ("name", "value", "known"),
    [
        ("interpolation", "spline", r"linear.*cubic"),
        ("fill_mode", "zero", r"mirror.*void"),
    ],
)
def test_unknown_choices_are_named(name, value, known):
    with pytest.raises(UserError, match=rf"augment\.{name} '{value}' is unknown; .*{known}"):
        AugmentOptions(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "known"),
    [("rotate", 1.5, r"\.rotate 1\.5: .*at most 1"), ("flip", 0.5, " 'flip' is unknown.*elastic, rotate")],
)
def test_wrong_probabilities_are_named(name, value, known):
    with pytest.raises(UserError, match=rf"augment\.probability{known}"):
        AugmentOptions(probability={name: value})
