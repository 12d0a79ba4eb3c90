"""Every option's domain is held, and all are off unless they are set."""

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
        ("elastic", -1.0, "choose at least 0"),
        ("noise", float("nan"), "choose at least 0"),
        ("shift", "3", "choose at least 0"),
        ("elastic_grid", 1, "choose a whole number of at least 2"),
        ("elastic_grid", 2.5, "choose a whole number of at least 2"),
        ("rotate", 181.0, "choose 0 to 180 degrees"),
        ("shear", 90.0, "choose at least 0 and below 90"),
        ("multiply", 1.0, "choose at least 0 and below 1"),
        ("scale", (0.0, 1.0), "give two factors above 0"),
        ("scale", (1.4, 0.7), "give two factors above 0, the smaller first"),
        ("scale", 1.5, "give two factors above 0"),
        ("blur", (-0.5, 1.0), "give two numbers of pixels from 0 on"),
        ("low_resolution", (0.5, 1.5), "give two factors above 0 up to 1"),
        ("cutout", -1, "choose a whole number of at least 0"),
        ("cutout_size", (0.1, 0.2, 0.3), "give two parts of the window"),
        ("interpolation", "spline", "choose linear or cubic"),
        ("fill_mode", "zero", "choose mirror or void"),
    ],
)
def test_what_is_outside_its_domain_is_refused(name, value, remedy):
    with pytest.raises(UserError) as caught:
        AugmentOptions(**{name: value})
    shown = repr(value) if name in ("interpolation", "fill_mode") else value
    assert str(caught.value).startswith(f"augment.{name}={shown}: {remedy}")


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [("rotate", 1.5, "choose 0 to 1"), ("flip", 0.5, "it is none of those drawn by chance")],
)
def test_wrong_probabilities_are_refused(name, value, remedy):
    with pytest.raises(UserError, match=rf"augment\.probability\.{name}={value}: {remedy}"):
        AugmentOptions(probability={name: value})
