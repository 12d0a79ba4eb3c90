"""The encoders: their parameters, the levels of their maps, and their places in the grids."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from helpers.small_nets import WIDTHS, graph, images, random_variables

from unet_jax.errors import UserError
from unet_jax.models import build
from unet_jax.models.encoders import vgg
from unet_jax.models.encoders.densenet import DenseNet
from unet_jax.models.encoders.encoder import max_pool_3x3, mean_pool
from unet_jax.models.encoders.registry import ENCODERS
from unet_jax.models.encoders.resnet import ResNet
from unet_jax.runtime.unoptimized_jit import jit_without_optimization

SMALL = {
    # Levels 1 to 3.
    "res": functools.partial(ResNet, blocks=(1, 1), features=2),
    # Levels 0 to 3.
    "vgg": functools.partial(vgg.VGG, convs=(1, 1, 1, 2), features=(2, 3, 4, 5)),
}


@pytest.fixture(autouse=True)
def _small_encoders(monkeypatch):
    for name, encoder in SMALL.items():
        monkeypatch.setitem(ENCODERS, name, encoder)


def small(name, encoder, **options):
    deep = {"deep_supervision": True} if name == "unet_pp" else {}
    widths = (*WIDTHS[:3], SMALL[encoder]().widths[3])
    return build(name, num_classes=2, **{"widths": widths, "encoder": encoder, **deep, **options})


def outline(encoder, channels=3, size=64, train=False):
    """Returns the shapes of the maps and of the variables."""
    image = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    return jax.eval_shape(lambda x: encoder.init_with_output(jax.random.key(0), x, train), image)


@pytest.mark.parametrize("name", list(ENCODERS))
def test_an_encoder_of_the_table_has_the_levels_that_it_states(name):
    """Level j has stride 2^j and its width, and a shallower encoder's variables are a subset by name."""
    encoder = ENCODERS[name](dtype="bfloat16")
    maps, variables = outline(encoder)
    assert {level: leaf.shape for level, leaf in zip(encoder.levels, maps, strict=True)} == {
        level: (1, 64 >> level, 64 >> level, width) for level, width in encoder.widths.items()
    }
    assert {leaf.dtype for leaf in maps} == {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert encoder.FIRST in variables["params"]
    depth = encoder.levels[1]
    shallow_maps, shallow = outline(ENCODERS[name](depth=depth))
    assert len(shallow_maps) == 2
    assert set(shallow["params"]) < set(variables["params"])


@pytest.mark.parametrize(
    ("name", "classifier", "published"), [("densenet40", 448, 1_019_722), ("densenet_bc100", 342, 769_162)]
)
def test_densenets_for_cifar(name, classifier, published):
    """With ten classes, by the layers' arithmetic (the paper prints 1.0M and 0.8M); block k is level k."""
    encoder = ENCODERS[name]()
    maps, variables = outline(encoder, size=32)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count + (classifier + 1) * 10 == published
    assert [leaf.shape[1:3] for leaf in maps] == [(32, 32), (16, 16), (8, 8)]
    assert {level: leaf.shape[3] for level, leaf in enumerate(maps)} == encoder.widths


@pytest.mark.parametrize("shape", [(2, 8, 6, 3), (1, 7, 5, 2)])
def test_pools_are_flax_pools(shape):
    """Compares values and gradients; inputs are negative, so that a border of zeros would be noticed."""
    x = jax.random.normal(jax.random.key(0), shape) - 3
    pairs = [(max_pool_3x3, lambda x: nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))))]
    if shape[1] % 2 == 0:
        pairs.append((mean_pool, lambda x: nn.avg_pool(x, (2, 2), (2, 2))))

    @jit_without_optimization
    def both(x):
        """Returns values and gradients; each gradient is that of a sum whose weights differ from place to place."""
        results = []
        for pair in pairs:
            for pool in pair:
                y, pull = jax.vjp(pool, x)
                results.append((y, *pull(jnp.arange(1.0, 1 + y.size).reshape(y.shape))))
        return results

    results = both(x)
    for ours, theirs in zip(results[::2], results[1::2], strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


def test_no_gather_scatter_or_select_and_scatter():
    encoder = DenseNet(layers_per_block=(1, 1), growth_rate=2, features=2)
    image = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: encoder.init(jax.random.key(0), x, False), image)

    def total(variables, x):
        return sum(jnp.square(leaf).sum() for leaf in encoder.apply(variables, x, True, mutable=["batch_stats"])[0])

    text = jax.jit(jax.grad(total, (0, 1))).lower(variables, image).as_text()
    assert "convolution" in text
    assert "gather" not in text
    assert "scatter" not in text


@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_is_synchronised(train):
    """Every BatchNorm of every kind of encoder takes the statistics of the batch, over the devices, in training alone."""
    kinds = [
        SMALL["res"],
        functools.partial(vgg.VGG, convs=(1, 1, 1, 1, 1), batch_norm=True),
        functools.partial(DenseNet, layers_per_block=(1, 1), growth_rate=2, features=2),
    ]
    for kind in kinds:
        seen = []

        def watch(next_function, args, kwargs, context, seen=seen):
            if isinstance(context.module, nn.BatchNorm):
                seen.append((context.module.axis_name, context.module.use_running_average, context.module.momentum))
            return next_function(*args, **kwargs)

        with nn.intercept_methods(watch):
            statistics = outline(kind(axis_name="batch"), train=train)[1]["batch_stats"]
        assert len(seen) == len(jax.tree.leaves(statistics)) / 2 > 3
        assert set(seen) == {("batch", not train, 0.9)}


@pytest.mark.parametrize("encoder", list(SMALL))
@pytest.mark.parametrize("name", ["unet", "unet_pp"])
def test_every_node_reads_the_maps_that_are_there(name, encoder):
    """The graph is the papers', with the encoder's maps in place of the contracting path; every map feeds a head."""
    module, image = small(name, encoder), images(1, 16, 16, 3)
    encoder_node = "enc_{}" if name == "unet" else "x_{}_0"
    level_of = {encoder_node.format(level): level for level in range(len(WIDTHS))}
    levels = SMALL[encoder]().levels
    edges = {
        node: [s for s in sources if level_of.get(s, levels[-1]) in levels] for node, sources in graph(name).items()
    }
    edges = {node: sources for node, sources in edges.items() if node not in level_of}
    inputs, outputs = {}, {}

    def watch(next_function, args, kwargs, context):
        result = next_function(*args, **kwargs)
        if context.method_name == "__call__" and len(context.module.path) == 1:
            (node,) = context.module.path
            inputs[node] = list(args[0]) if isinstance(args[0], list) else [args[0]]
            outputs[node] = result
        return result

    @jit_without_optimization
    def run(variables, image):
        def total(params):
            with nn.intercept_methods(watch):
                heads = module.apply({**variables, "params": params}, image)
            return sum(jnp.square(head).sum() for head in heads), (inputs, outputs)

        return jax.grad(total, has_aux=True)(variables["params"])

    gradients, (seen, gave) = run(random_variables(module, image), image)
    seen = {node: sources for node, sources in seen.items() if not node.startswith("Dropout")}
    assert set(seen) == {*edges, "encoder"}
    maps = dict(zip(levels, gave["encoder"], strict=True))
    for node, sources in edges.items():
        assert len(seen[node]) == len(sources), node
        for given, source in zip(seen[node], sources, strict=True):
            expected = maps[level_of[source]] if source in level_of else gave[source]
            np.testing.assert_array_equal(given, expected, err_msg=f"{node} reads {source}")
    for path, leaf in jax.tree_util.tree_flatten_with_path(gradients)[0]:
        assert np.abs(leaf).sum() > 0, path


def test_a_level_is_that_head_of_the_whole():
    """Fewer nodes and a shallower encoder, a subset by name; any size; logits float32."""
    whole, image = small("unet_pp", "res"), images(1, 13, 18, 1)
    variables = random_variables(whole, image)
    heads = jit_without_optimization(whole.apply)(variables, image)
    for level in (1, 2):
        part = small("unet_pp", "res", level=level, deep_supervision=False)
        needed = jax.eval_shape(part.init, jax.random.key(0), image)
        blocks = {name.split("_")[1] for name in needed["params"]["encoder"] if name.startswith("block")}
        assert blocks == {str(j) for j in range(2, level + 1)}
        subset = jax.tree_util.tree_map_with_path(
            lambda path, _: functools.reduce(lambda t, k: t[k.key], path, variables), needed
        )
        (logits,) = jit_without_optimization(part.apply)(subset, image)
        np.testing.assert_allclose(logits, heads[level - 1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["unet", "unet_pp"])
def test_an_encoder_has_its_networks_dtype_and_axis(name):
    """At any size; parameters and logits are float32."""
    module, seen = small(name, "res", dtype="bfloat16", norm="batch", axis_name="batch"), set()

    def watch(next_function, args, kwargs, context):
        result = next_function(*args, **kwargs)
        if isinstance(context.module, nn.BatchNorm) and context.module.path[0] == "encoder":
            seen.add((result.dtype, context.module.axis_name))
        return result

    image = jax.ShapeDtypeStruct((2, 37, 53, 3), jnp.float32)
    with nn.intercept_methods(watch):
        heads, variables = jax.eval_shape(lambda x: module.init_with_output(jax.random.key(0), x), image)
    assert seen == {(jnp.dtype("bfloat16"), "batch")}
    assert {(head.shape, head.dtype) for head in heads} == {((2, 37, 53, 2), jnp.dtype("float32"))}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_dropout_stands_on_the_two_deepest_maps_of_a_unet():
    module, seen = small("unet", "vgg", dropout=0.5), []

    def watch(next_function, args, kwargs, context):
        if isinstance(context.module, nn.Dropout) and context.module.rate and not kwargs["deterministic"]:
            seen.append(args[0].shape[1:])
        return next_function(*args, **kwargs)

    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    with nn.intercept_methods(watch):
        jax.eval_shape(lambda x: module.init(rngs, x, train=True), images(1, 16, 16, 3))
    assert seen == [(4, 4, 4), (2, 2, 5)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"encoder": "resnet18"}, ["'resnet18'", "'', vgg16", "resnet34"]),
        ({"encoder": ["resnet34"]}, ["['resnet34']", "resnet34"]),
        ({"encoder": None}, ["None", "resnet34"]),
        ({"encoder": "resnet34", "padding": "valid"}, ["padding='valid'", "padding='same'", "encoder=''"]),
        ({"encoder": "resnet34", "variant": "paper", "padding": "valid"}, ["variant='paper'", "variant=''"]),
        (
            {"encoder": "resnet34", "widths": (8, 8, 8, 8, 8, 8, 8)},
            ["widths=(8, 8, 8, 8, 8, 8, 8)", "'resnet34'", "2 to 6"],
        ),
        ({"encoder": "vgg16", "widths": (8, 8, 8, 8, 8, 512)}, ["widths=(8, 8, 8, 8, 8, 512)", "'vgg16'", "2 to 5"]),
        ({"encoder": "resnet34", "widths": (8, 8, 8, 64)}, ["widths=(8, 8, 8, 64)", "'resnet34'", "level 3", "128"]),
    ],
    ids=str,
)
def test_an_encoder_that_does_not_fit_is_refused(options, said):
    with pytest.raises(UserError) as error:
        build("unet", num_classes=2, **options)
    assert all(text in str(error.value) for text in said)
