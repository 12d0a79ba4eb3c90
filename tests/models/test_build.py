"""What a network tells of itself: the sizes it takes, and what it answers to bad knobs and bad images."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_nets import GRIDS, KNOBS, full

from unet_jax.errors import UserError
from unet_jax.models import build
from unet_jax.models.registry import MODELS


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("name", GRIDS)
def test_size_arithmetic_is_what_the_network_does(name, depth):
    """Every size up to 250: legal ones give the promised output, others fail with the nearest legal ones named."""
    deep = {"deep_supervision": True} if name == "unet_pp" else {}
    module = build(name, num_classes=2, widths=(1,) * (depth + 1), padding="valid", **deep)

    def walk(size):
        """The output of this size by the operators themselves, None where one does not fit."""
        for _ in range(depth):
            size -= 4
            if size <= 0 or size % 2:
                return None
            size //= 2
        size -= 4
        for _ in range(depth):
            size = 2 * size - 4
        return size if size > 0 else None

    legal = [size for size in range(1, 251) if walk(size) is not None]
    for size in range(1, 251):
        if size in legal:
            assert module.output_size(size) == walk(size)
            assert module.input_size(walk(size)) == size
            continue
        near = [n for n in legal if n < size][-1:] + [n for n in legal if n > size][:1]
        with pytest.raises(UserError, match=rf"^{size} pixels .*{'.*'.join(map(str, near))}"):
            module.output_size(size)
    assert np.diff(legal).tolist() == [module.multiple] * (len(legal) - 1)
    for size in range(1, walk(legal[-1]) + 1):
        assert module.input_size(size) == next(n for n in legal if walk(n) >= size)
    for size in legal[:3]:
        apply = lambda image: module.init_with_output(jax.random.key(0), image)[0]  # noqa: E731
        heads = jax.eval_shape(apply, jax.ShapeDtypeStruct((1, size, legal[1], 1), jnp.float32))
        assert len(heads) == (depth if deep else 1)
        assert {logits.shape for logits in heads} == {(1, walk(size), walk(legal[1]), 2)}


def test_sizes_are_the_papers():
    for name, knobs in (("unet", {}), ("unet_pp", {}), ("unet_pp", {"level": 1})):
        module = build(name, num_classes=2, padding="valid", **knobs)
        assert [module.output_size(572), module.output_size(188)] == [388, 4]
        assert [module.input_size(388), module.input_size(389), module.input_size(1)] == [572, 588, 188]
        with pytest.raises(UserError, match=r"570 pixels .* 556 and 572"):
            module.output_size(570)
        with pytest.raises(UserError, match=r"571 pixels .* 556 and 572"):
            module.init(jax.random.key(0), jnp.zeros((1, 572, 571, 1)))
        module = build(name, num_classes=2, **knobs)
        assert (module.multiple, module.output_size(37), module.input_size(37)) == (16, 37, 37)


@pytest.mark.parametrize(
    ("name", "knobs", "said"),
    [
        ("unet3", {}, ["'unet3'", "fc_densenet, fcn, unet, unet_pp"]),
        ("unet", {"level": 1}, ["'level'", "widths, padding, norm"]),
        ("unet_pp", {"widht": 1}, ["'widht'", "deep_supervision, level"]),
        ("unet", {"variant": "papr"}, ["'papr'", "'', paper, release, same, wide"]),
        (
            "unet",
            {"variant": "paper", "padding": "same"},
            ["padding='same'", "'paper'", "'valid'", "give padding that value"],
        ),
        ("unet_pp", {"variant": "paper", "norm": "batch"}, ["norm='batch'", "'none'", "variant=''"]),
        ("unet", {"padding": "reflect"}, ["'reflect'", "same, valid"]),
        ("unet", {"norm": "layer"}, ["'layer'", "none, batch, group, instance"]),
        ("unet", {"norm": ["batch"]}, ["['batch']", "none, batch, group, instance"]),
        ("unet", {"upsample": "bicubic"}, ["'bicubic'", "transpose, bilinear, nearest"]),
        ("unet", {"dtype": "float16"}, ["'float16'", "float32, bfloat16"]),
        ("unet", {"activation": "relu"}, ["'relu'", "softmax, sigmoid"]),
        ("unet", {"dropout": 1.0}, ["dropout=1.0", "less than 1"]),
        ("unet", {"dropout": "0.5"}, ["dropout='0.5'", "less than 1"]),
        ("unet", {"widths": (32,)}, ["(32,)", "two or more"]),
        ("unet", {"widths": 32}, ["32", "two or more"]),
        ("unet", {"widths": (8, 0)}, ["(8, 0)", "positive"]),
        ("unet", {"widths": (8, 16.5)}, ["(8, 16.5)", "whole"]),
        ("unet", {"num_classes": 0}, ["num_classes=0", "from 1"]),
        ("unet_pp", {"num_classes": 1}, ["num_classes=1", "'softmax'", "give activation='sigmoid'"]),
        ("unet_pp", {"level": 5}, ["level=5", "1 to 4"]),
        ("unet_pp", {"level": -1}, ["level=-1", "1 to 4"]),
        ("unet_pp", {"deep_supervision": 4}, ["deep_supervision=4", "True, False"]),
        ("fcn", {"padding": "valid"}, ["'padding'", "stride, widths"]),
        ("fcn", {"stride": 4}, ["stride=4", "32, 16, 8"]),
        ("fcn", {"stride": 8.0}, ["stride=8.0", "32, 16, 8"]),
        ("fcn", {"widths": (8, 16, 32, 64, 128)}, ["(8, 16, 32, 64, 128)", "six"]),
        ("fcn", {"widths": 64}, ["widths=64", "six"]),
        ("fcn", {"widths": (8, 16, 32, 64, 64, 0)}, ["(8, 16, 32, 64, 64, 0)", "positive"]),
        ("fc_densenet", {"variant": 103}, ["variant=103 ", "'', 103, 67, 56"]),
        ("fc_densenet", {"variant": ["103"]}, ["variant=['103']", "'', 103, 67, 56"]),
        ("fc_densenet", {"variant": "56", "first": 16}, ["first=16", "'56', which has 48", "variant=''"]),
        (
            "fc_densenet",
            {"variant": "67", "layers": [4] * 11},
            ["layers=(4, 4,", "which has (5, 5,", "give layers that value"],
        ),
        ("fc_densenet", {"first": 0}, ["first=0", "from 1"]),
        ("fc_densenet", {"growth": 2.5}, ["growth=2.5", "from 1"]),
        ("fc_densenet", {"layers": ()}, ["layers=()", "odd"]),
        ("fc_densenet", {"variant": "", "first": 8, "growth": 4, "layers": (2, 3, 3, 2)}, ["(2, 3, 3, 2)", "odd"]),
        ("fc_densenet", {"variant": "", "first": 8, "growth": 4, "layers": (2,)}, ["(2,)", "three"]),
        ("fc_densenet", {"variant": "", "first": 8, "growth": 4, "layers": (1, 0, 1)}, ["(1, 0, 1)", "positive"]),
    ],
    ids=lambda value: None if isinstance(value, list) else str(value),
)
def test_bad_knobs_are_named_with_what_is_allowed(name, knobs, said):
    with pytest.raises(UserError) as error:
        build(name, **{"num_classes": 2, **knobs})
    assert all(text in str(error.value) for text in said)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(188, 188), (1, 188, 188), (0, 188, 188, 1), (1, 0, 188, 1), (1, 188, 188, 0)])
def test_images_that_are_no_batch_are_refused(shape):
    valid = [full(name, padding="valid") for name in GRIDS]
    for module in [*map(full, MODELS), *valid]:
        with pytest.raises(UserError, match=rf"{re.escape(str(shape))}.*batch, height, width, channels"):
            module.init(jax.random.key(0), jnp.zeros(shape))


@pytest.mark.parametrize("name", list(MODELS))
def test_a_module_is_a_static_argument(name):
    """Modules with equal knobs hash alike, lists included, so that jit does not compile again."""
    ours = full(name)
    several = {knob: list(value) for knob, value in KNOBS[name].items() if isinstance(value, tuple)}
    assert several
    theirs = full(name, **several)
    assert ours == theirs
    assert hash(ours) == hash(theirs)
