"""Folding of BatchNorm: same logits, the variables of a network without BatchNorm, and nothing where there is none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_nets import full, images

from unet_jax.analysis.certify.check import random_variables, shapes
from unet_jax.models.fold_batch_norm import fold_batch_norm
from unet_jax.runtime.unoptimized_jit import jit_without_optimization

CASES = {
    "unet": ("unet", {}),
    "unet, valid, nearest": ("unet", {"widths": (3, 5), "padding": "valid", "upsample": "nearest"}),
    "unet_pp, all heads": ("unet_pp", {}),
    "unet_pp, bilinear, sigmoid": ("unet_pp", {"widths": (3, 5, 6), "upsample": "bilinear", "activation": "sigmoid"}),
    "unet_pp, level 1": ("unet_pp", {"level": 1}),
    "unet, vgg16_bn": ("unet", {"widths": (3, 128), "encoder": "vgg16_bn"}),
    "unet_pp, resnet34": ("unet_pp", {"widths": (3, 64), "encoder": "resnet34"}),
}


def logits(network, variables, folded, folded_variables, image):
    run = jit_without_optimization(lambda v, f, x: (network.apply(v, x), folded.apply(f, x)))
    return jax.device_get(run(variables, folded_variables, image))


def size_of(network):
    return network.input_size(24)


@pytest.mark.parametrize("case", CASES)
def test_the_logits_are_those_with_batch_norm(case):
    name, options = CASES[case]
    network = full(name, norm="batch", **options)
    variables = random_variables(network, 2, size_of(network))
    folded, folded_variables = fold_batch_norm(network, variables)
    before, after = logits(
        network, variables, folded, folded_variables, images(2, size_of(network), size_of(network), 2)
    )
    assert len(before) == len(after) == network.num_heads
    for expected, got in zip(before, after, strict=True):
        assert np.ptp(expected) > 0.1
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))
    assert folded.norm == "none"
    # The names, shapes and types are those that the folded network would make itself.
    expected = shapes(folded, 2, size_of(network))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), dict(folded_variables)) == jax.tree.map(
        lambda x: (x.shape, x.dtype), expected
    )
    assert ("batch_stats" in folded_variables) == ("resnet34" in case)


def test_vgg_folds_behind_a_decoder_of_any_norm():
    network = full("unet", norm="group", widths=(4, 128), encoder="vgg16_bn")
    variables = random_variables(network, 1, 16)
    folded, folded_variables = fold_batch_norm(network, variables)
    assert (folded.norm, folded.encoder) == ("group", "vgg16")
    (expected,), (got,) = logits(network, variables, folded, folded_variables, images(1, 16, 16, 1))
    np.testing.assert_allclose(got, expected, atol=1e-5 * max(1, np.abs(expected).max()), rtol=0)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("unet", {"norm": "none"}),
        ("unet", {"norm": "group"}),
        ("unet_pp", {"norm": "instance"}),
        ("unet", {"norm": "none", "widths": (3, 64), "encoder": "resnet34"}),
        ("fcn", {}),
        ("fc_densenet", {}),
    ],
)
def test_nothing_changes_where_nothing_can_be_folded(name, options):
    network = full(name, **options)
    variables = shapes(network, 1, 16)
    folded, folded_variables = fold_batch_norm(network, variables)
    assert folded is network
    assert folded_variables is variables


def test_a_level_gets_what_all_levels_get_and_the_input_stays():
    network = full("unet_pp", norm="batch")
    variables = random_variables(network, 1, 16)
    copies = jax.tree.map(np.copy, variables)
    _, of_all = fold_batch_norm(network, variables)
    jax.tree.map(np.testing.assert_array_equal, variables, copies)
    level = network.at_level(1, one_head=True)
    needed = shapes(level, 1, 16)
    part = {kind: {name: variables[kind][name] for name in tree} for kind, tree in needed.items()}
    folded, of_level = fold_batch_norm(level, part)
    assert (folded.level, folded.levels) == (1, (1,))
    assert set(of_level["params"]) == set(needed["params"])
    jax.tree.map(
        np.testing.assert_array_equal, of_level["params"], {name: of_all["params"][name] for name in of_level["params"]}
    )


def test_in_bfloat16_it_rounds_no_worse_than_batch_norm():
    network = full("unet", norm="batch", dtype="bfloat16")
    variables, image = random_variables(network, 1, 24), images(4, 24, 24, 1)
    folded, folded_variables = fold_batch_norm(network, variables)
    assert folded.dtype == "bfloat16"
    assert {leaf.dtype for leaf in jax.tree.leaves(folded_variables)} == {np.dtype(np.float32)}
    (before,), (after,) = logits(network, variables, folded, folded_variables, image)
    exact = jit_without_optimization(network.clone(dtype="float32").apply)(variables, image)[0]
    off = [float(jnp.sqrt(jnp.mean(jnp.square(x - exact)))) for x in (before, after)]
    assert 0 < off[1] < 1.5 * off[0]


def test_a_network_that_has_diverged_gives_no_warning():
    network = full("unet", norm="batch", widths=(3, 5))
    variables = random_variables(network, 1, 8)
    variables["batch_stats"]["enc_0"]["norm_0"]["var"][:] = [-1, np.inf, np.nan]
    _, folded = fold_batch_norm(network, variables)
    bias = folded["params"]["enc_0"]["conv_0"]["bias"]
    np.testing.assert_array_equal(np.isnan(bias), [True, False, True])
