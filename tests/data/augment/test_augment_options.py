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
    ("name", "value", "remedy"),
    [
        ("elastic", -1.0, "at least 0"),
        ("noise", float("nan"), "at least 0"),
        ("shift", "3", "at least 0"),
        ("elastic_grid", 1, "whole number of at least 2"),
        ("elastic_grid", 2.5, "whole number of at least 2"),
        ("rotate", 181.0, "0 to 180"),
        ("shear", 90.0, "below 90"),
        ("multiply", 1.0, "below 1"),
        ("scale", (0.0, 1.0), "above 0"),
        ("scale", (1.4, 0.7), "smaller first"),
        ("scale", 1.5, "two"),
        ("blur", (-0.5, 1.0), "from 0"),
        ("low_resolution", (0.5, 1.5), "up to 1"),
        ("cutout", -1, "whole number of at least 0"),
        ("cutout_size", (0.1, 0.2, 0.3), "two"),
        ("interpolation", "spline", "linear or cubic"),
        ("fill_mode", "zero", "mirror or void"),
    ],
)
def test_values_outside_their_domain_are_named(name, value, remedy):
    with pytest.raises(UserError) as caught:
        AugmentOptions(**{name: value})
    shown = repr(value) if name in ("interpolation", "fill_mode") else value
    named, _, advice = str(caught.value).partition(": ")
    assert named == f"augment.{name}={shown}"
    assert remedy in advice


@pytest.mark.parametrize(("name", "value", "remedy"), [("rotate", 1.5, "0 to 1"), ("flip", 0.5, "elastic, rotate")])
def test_wrong_probabilities_are_named(name, value, remedy):
    with pytest.raises(UserError, match=rf"augment\.probability\.{name}={value}: .*{remedy}"):
        AugmentOptions(probability={name: value})
