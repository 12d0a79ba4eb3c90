"""Checks the sizes, levels and heads that a network states, and its errors on bad options and images."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_nets import GRIDS, OPTIONS, full, shapes

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
        with pytest.raises(UserError, match=rf"^{size} .*{'.*'.join(map(str, near))}"):
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
    for name, options in (("unet", {}), ("unet_pp", {}), ("unet_pp", {"level": 1})):
        module = build(name, num_classes=2, padding="valid", **options)
        assert [module.output_size(572), module.output_size(188)] == [388, 4]
        assert [module.input_size(388), module.input_size(389), module.input_size(1)] == [572, 588, 188]
        with pytest.raises(UserError, match=r"570 .* 556 and 572"):
            module.output_size(570)
        with pytest.raises(UserError, match=r"571 .* 556 and 572"):
            module.init(jax.random.key(0), jnp.zeros((1, 572, 571, 1)))
        module = build(name, num_classes=2, **options)
        assert (module.multiple, module.output_size(37), module.input_size(37)) == (16, 37, 37)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("unet3", {}, ["'unet3'", ", ".join(sorted(MODELS))]),
        ("unet", {"level": 1}, ["'level'", "widths, padding, norm"]),
        ("unet_pp", {"widht": 1}, ["'widht'", "deep_supervision, level"]),
        ("unet", {"variant": "papr"}, ["variant 'papr'", "'', paper, release, same, wide"]),
        (
            "unet",
            {"variant": "paper", "padding": "same"},
            ["'paper'", "padding='valid'", "padding='same'", "variant=''"],
        ),
        ("unet_pp", {"variant": "paper", "norm": "batch"}, ["'paper'", "norm='none'", "norm='batch'", "variant=''"]),
        ("unet", {"padding": "reflect"}, ["padding 'reflect'", "same, valid"]),
        ("unet", {"norm": "layer"}, ["norm 'layer'", "none, batch, group, instance"]),
        ("unet", {"norm": ["batch"]}, ["norm ['batch']", "none, batch, group, instance"]),
        ("unet", {"upsample": "bicubic"}, ["upsample 'bicubic'", "transpose, bilinear, nearest"]),
        ("unet", {"dtype": "float16"}, ["dtype 'float16'", "float32, bfloat16"]),
        ("unet", {"activation": "relu"}, ["activation 'relu'", "softmax, sigmoid"]),
        ("unet", {"dropout": 1.0}, ["dropout 1.0", "below 1"]),
        ("unet", {"dropout": "0.5"}, ["dropout '0.5'", "below 1"]),
        ("unet", {"widths": (32,)}, ["widths (32,)", "(32, 64, 128)"]),
        ("unet", {"widths": 32}, ["widths 32", "(32, 64, 128)"]),
        ("unet", {"widths": (8, 0)}, ["widths (8, 0)", "(32, 64, 128)"]),
        ("unet", {"widths": (8, 16.5)}, ["widths (8, 16.5)", "(32, 64, 128)"]),
        ("unet", {"num_classes": 0}, ["num_classes 0", "1"]),
        ("unet_pp", {"num_classes": 1}, ["num_classes=1", "activation='softmax'", "activation='sigmoid'"]),
        ("unet_pp", {"level": 5}, ["level 5", "at most 4"]),
        ("unet_pp", {"level": -1}, ["level -1", "at most 4"]),
        ("unet_pp", {"deep_supervision": 4}, ["deep_supervision 4", "True or False"]),
        ("fcn", {"padding": "valid"}, ["'padding'", "stride, widths"]),
        ("fcn", {"stride": 4}, ["stride 4", "32, 16, 8"]),
        ("fcn", {"stride": 8.0}, ["stride 8.0", "32, 16, 8"]),
        ("fcn", {"widths": (8, 16, 32, 64, 128)}, ["widths (8, 16, 32, 64, 128)", "(8, 16, 32, 64, 64, 128)"]),
        ("fcn", {"widths": 64}, ["widths 64:", "(8, 16, 32, 64, 64, 128)"]),
        ("fcn", {"widths": (8, 16, 32, 64, 64, 0)}, ["widths (8, 16, 32, 64, 64, 0)", "(8, 16, 32, 64, 64, 128)"]),
        ("fc_densenet", {"variant": 103}, ["variant 103 ", "'', 103, 67, 56"]),
        ("fc_densenet", {"variant": ["103"]}, ["variant ['103']", "'', 103, 67, 56"]),
        (
            "fc_densenet",
            {"variant": "56", "stem_features": 16},
            ["'56'", "stem_features=48", "stem_features=16", "variant=''"],
        ),
        (
            "fc_densenet",
            {"variant": "67", "layers_per_block": [4] * 11},
            ["'67'", "layers_per_block=(5, 5,", "layers_per_block=(4, 4,", "variant=''"],
        ),
        ("fc_densenet", {"stem_features": 0}, ["stem_features 0", "1"]),
        ("fc_densenet", {"growth_rate": 2.5}, ["growth_rate 2.5", "1"]),
        ("fc_densenet", {"layers_per_block": ()}, ["layers_per_block ()", "(2, 3, 4, 3, 2)"]),
        (
            "fc_densenet",
            {"variant": "", "stem_features": 8, "growth_rate": 4, "layers_per_block": (2, 3, 3, 2)},
            ["layers_per_block (2, 3, 3, 2)", "(2, 3, 4, 3, 2)"],
        ),
        (
            "fc_densenet",
            {"variant": "", "stem_features": 8, "growth_rate": 4, "layers_per_block": (2,)},
            ["layers_per_block (2,)", "(2, 3, 4, 3, 2)"],
        ),
        (
            "fc_densenet",
            {"variant": "", "stem_features": 8, "growth_rate": 4, "layers_per_block": (1, 0, 1)},
            ["layers_per_block (1, 0, 1)", "(2, 3, 4, 3, 2)"],
        ),
    ],
    ids=lambda value: None if isinstance(value, list) else str(value),
)
def test_bad_options_are_named_with_what_is_allowed(name, options, said):
    with pytest.raises(UserError) as error:
        build(name, **{"num_classes": 2, **options})
    assert all(text in str(error.value) for text in said)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(188, 188), (1, 188, 188), (0, 188, 188, 1), (1, 0, 188, 1), (1, 188, 188, 0)])
def test_images_that_are_no_batch_are_refused(shape):
    valid = [full(name, padding="valid") for name in GRIDS]
    for module in [*map(full, MODELS), *valid]:
        with pytest.raises(UserError, match=rf"{re.escape(str(shape))}.*\[batch, height, width, channels\]"):
            module.init(jax.random.key(0), jnp.zeros(shape))


@pytest.mark.parametrize("name", list(MODELS))
def test_a_module_is_a_static_argument(name):
    """Modules with equal options hash alike, lists included, so that jit does not compile again."""
    ours = full(name)
    several = {option: list(value) for option, value in ours.options.items() if isinstance(value, tuple)}
    assert several or name not in OPTIONS
    theirs = full(name, **several)
    assert ours == theirs
    assert hash(ours) == hash(theirs)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(MODELS))
def test_a_network_states_its_heads_and_levels(name):
    """For every network: as many heads as it returns, and at each level the part that has that level's head."""
    module = full(name)
    returned = lambda part: len(jax.eval_shape(part.apply, shapes(part, size=32), jnp.ones((1, 32, 32, 1))))  # noqa: E731
    assert returned(module) == module.num_heads
    assert module.at_level(0) == module
    for level in module.levels:
        part, single = module.at_level(level), module.at_level(level, one_head=True)
        assert (returned(part), returned(single)) == (part.num_heads, 1)
        assert single.levels == (level,)
        assert set(shapes(single)["params"]) <= set(shapes(part)["params"]) <= set(shapes(module)["params"])
    for level in (-1, max(module.levels) + 1):
        with pytest.raises(UserError, match=f"level {level}.* 0"):
            module.at_level(level)


def test_levels_of_a_unet_pp():
    deep, one_head = (full("unet_pp", deep_supervision=value) for value in (True, False))
    assert (deep.levels, deep.num_heads) == ((1, 2, 3), 3)
    assert (one_head.levels, one_head.num_heads) == ((3,), 1)
    assert (deep.at_level(2).levels, deep.at_level(2).num_heads) == ((1, 2), 2)
    assert one_head.at_level(3) == full("unet_pp", deep_supervision=False, level=3)
    with pytest.raises(UserError, match=r"level 2.* 0, 3 "):
        one_head.at_level(2)
    for name in MODELS:
        assert full(name).deep_supervision == (name == "unet_pp")
        if name != "unet_pp":
            assert (full(name).levels, full(name).num_heads) == ((0,), 1)


@pytest.mark.parametrize("name", list(MODELS))
def test_without_remat(name):
    module = full(name)
    assert module.without_remat() == module
    if name in GRIDS:
        assert full(name, remat=(0, 1)).without_remat() == module
