"""FC-DenseNet against the paper: counts, and its equations written out plainly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from helpers.small_nets import OPTIONS, full, images, random_variables

from unet_jax.models import build
from unet_jax.models.fc_densenet import conv_transpose_3x3
from unet_jax.runtime.unoptimized_jit import jit_without_optimization


def flax_transposed(x, kernel):
    """Computes nn.ConvTranspose without its last row and column."""
    layer = nn.ConvTranspose(kernel.shape[-1], (3, 3), (2, 2), padding="VALID", use_bias=False)
    y = layer.apply({"params": {"kernel": kernel[::-1, ::-1]}}, x)
    assert y.shape[1:3] == (2 * x.shape[1] + 1, 2 * x.shape[2] + 1)
    return y[:, :-1, :-1]


def written_out(variables, image, layers):
    """Returns the logits by the paper's equations."""
    params, stats = variables["params"], variables["batch_stats"]
    row = lambda vector: vector.reshape(1, 1, 1, -1)  # noqa: E731

    def conv(p, x):
        return nn.Conv(p["kernel"].shape[-1], p["kernel"].shape[:2]).apply({"params": p}, x)

    def layer(name, x):
        norm, seen = params[name]["norm"], stats[name]["norm"]
        x = (x - row(seen["mean"])) / jnp.sqrt(row(seen["var"]) + 1e-5) * row(norm["scale"]) + row(norm["bias"])
        return conv(params[name]["conv"], nn.relu(x))

    def block(name, number, x):
        new = []
        for k in range(number):
            new.append(layer(f"{name}_{k}", jnp.concatenate([x, *new], -1)))
        return jnp.concatenate(new, -1)

    depth = len(layers) // 2
    x, skips = conv(params["first"], image), []
    for i in range(depth):
        x = jnp.concatenate([x, block(f"down_{i}", layers[i], x)], -1)
        skips.append(x)
        x = nn.max_pool(layer(f"transition_down_{i}", x), (2, 2), (2, 2))
    new = block("bottleneck", layers[depth], x)
    for n, i in zip(layers[depth + 1 :], reversed(range(depth)), strict=True):
        p = params[f"transition_up_{i}"]
        x = jnp.concatenate([flax_transposed(new, p["kernel"]) + row(p["bias"]), skips[i]], -1)
        new = block(f"up_{i}", n, x)
    return conv(params["head"], jnp.concatenate([x, new], -1))


def test_a_variant_sets_its_options_and_accepts_them():
    module = build("fc_densenet", num_classes=2, variant="56")
    assert (module.stem_features, module.growth_rate, module.layers_per_block) == (48, 12, (4,) * 11)
    assert (
        build("fc_densenet", num_classes=2, variant="56", stem_features=48, growth_rate=12, layers_per_block=[4] * 11)
        == module
    )
    assert (module.multiple, module.output_size(37), module.input_size(37)) == (32, 37, 37)


def test_it_is_the_published_network():
    module, image = full("fc_densenet"), images(2, 8, 12, 3)
    variables = random_variables(module, image)
    layers = OPTIONS["fc_densenet"]["layers_per_block"]
    ((ours,), theirs) = jit_without_optimization(lambda v, i: (module.apply(v, i), written_out(v, i, layers)))(
        variables, image
    )
    assert np.abs(theirs).max() > 0.1
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * float(jnp.abs(theirs).max()))


def test_an_odd_size_is_the_edge_repeated_at_the_end():
    module, image = full("fc_densenet"), images(1, 13, 7, 1)
    variables = random_variables(module, image)
    wide = jnp.pad(image, ((0, 0), (0, 3), (0, 1), (0, 0)), mode="edge")
    apply = jit_without_optimization(module.apply)
    (a,), (b,) = apply(variables, image), apply(variables, wide)
    np.testing.assert_allclose(a, b[:, :13, :7], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 1, 1, 4)])
def test_transposed_convolution_is_flax_conv_transpose(shape):
    """With both gradients, and in forms that every device runs in the same order each time."""

    @jit_without_optimization
    def both(x, kernel):
        ours, back = jax.vjp(conv_transpose_3x3, x, kernel)
        theirs, their_back = jax.vjp(flax_transposed, x, kernel)
        g = jnp.sin(jnp.arange(theirs.size, dtype=jnp.float32)).reshape(theirs.shape)
        return (ours, *back(g)), (theirs, *their_back(g))

    x, kernel = images(*shape), images(3, 3, 4, 6, key=2)
    for ours, theirs in zip(*both(x, kernel), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    text = jax.jit(jax.grad(lambda x: jnp.square(conv_transpose_3x3(x, kernel)).sum())).lower(x).as_text()
    assert "dot_general" in text
    assert "gather" not in text
    assert "scatter" not in text


def test_every_kernel_starts_he_uniform():
    module = full("fc_densenet", growth_rate=16, stem_features=16, layers_per_block=(1, 1, 1), num_classes=64)
    params = jit_without_optimization(lambda key: module.init(key, images(1, 2, 2, 16))["params"])(jax.random.key(0))
    for name, tree in params.items():
        kernel = tree.get("conv", tree)["kernel"]
        bound = np.sqrt(6 / np.prod(kernel.shape[:-1]))
        assert 0.97 * bound < np.abs(kernel).max() <= bound, name
        np.testing.assert_allclose(kernel.std(), bound / np.sqrt(3), rtol=0.1, err_msg=name)


def test_batch_norm_learns_in_training_alone():
    """Every statistic moves in training, over all devices where the axis is given, and none moves in evaluation."""
    image = images(4, 8, 8, 1)
    alone = full("fc_densenet")
    variables = random_variables(alone, image)
    _, learned = jit_without_optimization(lambda v, i: alone.apply(v, i, train=True, mutable=["batch_stats"]))(
        variables, image
    )
    for old, new in zip(jax.tree.leaves(variables["batch_stats"]), jax.tree.leaves(learned), strict=True):
        assert np.all(old != new)
    synchronised = full("fc_densenet", axis_name="batch")
    p_apply = jax.pmap(
        lambda v, i: synchronised.apply(v, i, train=True, mutable=["batch_stats"])[1]["batch_stats"]["up_0_0"],
        axis_name="batch", in_axes=(None, 0), out_axes=None,
    )  # fmt: skip
    seen = p_apply(variables, image.reshape(4, 1, 8, 8, 1))
    for a, b in zip(jax.tree.leaves(seen), jax.tree.leaves(learned["batch_stats"]["up_0_0"]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
