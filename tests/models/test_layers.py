"""Dropout, initial values and batch normalisation of whole networks."""

import jax
import numpy as np
from flax import linen as nn
from helpers.small_nets import full, graph, images, random_variables

from unet_jax.models import build
from unet_jax.models.registry import MODELS


def test_dropout_stands_where_the_papers_have_it():
    """Dropout acts in training alone.

    U-Net: after its two deepest encoder levels, once each. U-Net++: after every ReLU. FCN: after fc6 and fc7. FC-DenseNet:
    after every layer and on the way down.
    """
    dense = [f"{place}_{k}" for place, n in (("down_0", 1), ("down_1", 2), ("bottleneck", 3)) for k in range(n)]
    dense += ["up_1_0", "up_0_0", "up_0_1", "transition_down_0", "transition_down_1"]
    nested = 2 * [node for node in graph("unet_pp") if node.startswith("x")]
    places = {"unet": ["enc_2", "enc_3"], "unet_pp": nested, "fcn": ["fc_6", "fc_7"], "fc_densenet": dense}
    assert set(places) <= set(MODELS)
    for name, expected in places.items():
        module, image = full(name, dropout=0.5), images(1, 8, 8, 1)
        seen, before = [], []

        def watch(next_function, args, kwargs, context, seen=seen, before=before):
            if isinstance(context.module, nn.Conv):
                before.append(context.module.path[0])
            if isinstance(context.module, nn.Dropout) and context.module.rate and not kwargs["deterministic"]:
                seen.append(before[-1])
            return next_function(*args, **kwargs)

        with nn.intercept_methods(watch):
            jax.eval_shape(lambda i, m=module: m.init({"params": jax.random.key(0)}, i), image)
            assert not seen
            rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
            jax.eval_shape(lambda i, m=module, r=rngs: m.init(r, i, train=True), image)
        assert sorted(seen) == sorted(expected)


def test_the_release_has_relus_after_up_and_a_wide_last_one():
    module = build("unet", num_classes=2, variant="release", widths=(3, 5, 6))
    image = images(1, module.input_size(4), module.input_size(4), 1)
    variables, read, made = random_variables(module, image), {}, {}

    def watch(next_function, args, kwargs, context):
        name = "/".join(context.module.path)
        made[name] = next_function(*args, **kwargs)
        if context.method_name == "__call__" and len(context.module.path) == 1 and name.startswith("dec"):
            read.setdefault(name, args[0])
        return made[name]

    with nn.intercept_methods(watch):
        module.apply(variables, image)
    for i, width in ((0, 5), (1, 5)):
        up, skip = read[f"dec_{i}"]
        np.testing.assert_array_equal(up, nn.relu(made[f"up_{i}"]))
        assert (made[f"up_{i}"] < 0).any()
        assert (up.shape[-1], skip.shape[-1]) == (width, (3, 5)[i])


def test_published_rates_of_dropout():
    assert build("unet", num_classes=2, variant="release").dropout == 0.5
    assert build("unet_pp", num_classes=2, variant="paper").dropout == 0.5
    # U-Net's paper gives no rate.
    assert build("unet", num_classes=2, variant="paper", dropout=0.2).dropout == 0.2


def test_the_release_starts_as_xavier():
    """Uniform, bound sqrt(3 / fan-in), for every kernel."""
    module = build("unet", num_classes=2, variant="release", widths=(32, 64))
    parameters = jax.jit(module.init)(jax.random.key(0), images(1, 20, 20, 1))["params"]
    for kernel in (parameters["enc_1"]["conv_1"]["kernel"], parameters["up_0"]["kernel"]):
        bound = np.sqrt(3 / np.prod(kernel.shape[:3]))
        assert 0.99 * bound < np.abs(kernel).max() <= bound
        np.testing.assert_allclose(kernel.std(), bound / np.sqrt(3), rtol=0.03)


def test_initialisation_is_he_and_glorot():
    """Standard deviations on kernels of many weights, to 3 %."""
    module = build("unet", num_classes=2, widths=(64, 128))
    parameters = jax.jit(module.init)(jax.random.key(0), images(1, 4, 4, 1))["params"]
    for kernel, expected in [
        (parameters["enc_1"]["conv_1"]["kernel"], np.sqrt(2 / (9 * 128))),
        (parameters["dec_0"]["conv_0"]["kernel"], np.sqrt(2 / (9 * 128))),
        (parameters["up_0"]["kernel"], np.sqrt(2 / (4 * (128 + 64)))),
    ]:
        np.testing.assert_allclose(kernel.std(), expected, rtol=0.03)
    assert all(not leaf.any() for leaf in (parameters["up_0"]["bias"], parameters["enc_0"]["conv_0"]["bias"]))


def test_batch_norm_over_devices_is_batch_norm_over_the_batch():
    image = images(8, 8, 8, 1)
    alone = build("unet", num_classes=2, widths=(4, 8), norm="batch")
    synchronised = alone.clone(axis_name="batch")
    variables = random_variables(synchronised, image)

    def apply(module, variables, image):
        return module.apply(variables, image, train=True, mutable=["batch_stats"])

    (logits,), stats = jax.jit(lambda v, i: apply(alone, v, i))(variables, image)
    p_apply = jax.pmap(lambda v, i: apply(synchronised, v, i), axis_name="batch", in_axes=(None, 0), out_axes=(0, None))
    (p_logits,), p_stats = p_apply(variables, image.reshape(4, 2, 8, 8, 1))
    np.testing.assert_allclose(p_logits.reshape(logits.shape), logits, rtol=1e-4, atol=1e-5)
    for a, b in zip(jax.tree.leaves(p_stats), jax.tree.leaves(stats), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
