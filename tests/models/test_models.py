"""The networks against the papers: counts, wiring, pruning, borders, dropout and initial values."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from unet_jax.models import MODELS, build

WIDTHS = (3, 5, 6, 7)  # all different, and small
PAPER = {"unet": (64, 128, 256, 512, 1024), "unet_pp": (32, 64, 128, 256, 512)}

# These tests compile far longer than they run, so the compiler is told not to optimise.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def images(*shape, key=1):
    return jax.random.normal(jax.random.key(key), shape)


def shapes(module, channels=1, size=32):
    return jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32))


def count(module, **kwargs):
    return sum(leaf.size for leaf in jax.tree.leaves(shapes(module, **kwargs)["params"]))


def random_variables(module, image):
    """Variables as after training: none of them 0 or 1; without compiling the module's own initialisation."""
    generator = np.random.default_rng(0)

    def draw(leaf):
        fan_in = np.prod(leaf.shape[:-1]) if leaf.ndim > 1 else 8
        return jnp.asarray(
            np.abs(generator.normal(size=leaf.shape))
            if leaf.ndim == 1
            else generator.normal(size=leaf.shape) * np.sqrt(2 / fan_in),
            jnp.float32,
        )

    return jax.tree.map(draw, jax.eval_shape(module.init, jax.random.key(0), image))


@pytest.mark.parametrize(
    ("name", "channels", "knobs", "expected"),
    [
        ("unet", 1, {"num_classes": 2}, 31_030_658),
        ("unet", 1, {"num_classes": 2, "padding": "valid", "size": 572}, 31_030_658),
        ("unet", 1, {"num_classes": 1, "widths": PAPER["unet_pp"]}, 7_759_521),
        ("unet_pp", 1, {"num_classes": 1}, 9_041_601),
        ("unet_pp", 1, {"num_classes": 1, "deep_supervision": True}, 9_041_700),
        ("unet_pp", 3, {"num_classes": 1, "deep_supervision": True}, 9_042_276),
        ("unet_pp", 1, {"num_classes": 3, "deep_supervision": True}, 9_041_964),
        ("unet_pp", 1, {"num_classes": 1, "level": 1}, 100_961),
        ("unet_pp", 1, {"num_classes": 1, "level": 2}, 511_105),
        ("unet_pp", 1, {"num_classes": 1, "level": 3}, 2_204_961),
        ("unet_pp", 1, {"num_classes": 1, "level": 4}, 9_041_601),
    ],
)
def test_parameter_counts_are_the_papers(name, channels, knobs, expected):
    size = knobs.pop("size", 32)
    assert count(build(name, **knobs), channels=channels, size=size) == expected


class Wires:
    """Records what every submodule reads and gives, and adds a perturbation to each source of each node."""

    def __init__(self, perturbations=None):
        self.inputs, self.outputs, self.perturbations = {}, {}, perturbations

    def __call__(self, next_function, args, kwargs, context):
        if context.method_name != "__call__" or len(context.module.path) != 1:
            return next_function(*args, **kwargs)
        (name,) = context.module.path
        sources = list(args[0]) if isinstance(args[0], list | tuple) else [args[0]]
        self.inputs[name] = sources
        if self.perturbations:
            sources = [source + extra for source, extra in zip(sources, self.perturbations[name], strict=True)]
        first = sources if isinstance(args[0], list | tuple) else sources[0]
        self.outputs[name] = next_function(first, *args[1:], **kwargs)
        return self.outputs[name]


def graph(name):
    """What each submodule reads, written from the papers' equations."""
    depth = len(WIDTHS) - 1
    if name == "unet":
        edges = {"enc_0": ["image"]} | {f"enc_{i}": [f"pool enc_{i - 1}"] for i in range(1, depth + 1)}
        for i in range(depth):
            edges |= {f"up_{i}": [f"enc_{depth}" if i == depth - 1 else f"dec_{i + 1}"]}
            edges |= {f"dec_{i}": [f"up_{i}", f"enc_{i}"]}
        return edges | {"head": ["dec_0"]}
    edges = {"x_0_0": ["image"]} | {f"x_{i}_0": [f"pool x_{i - 1}_0"] for i in range(1, depth + 1)}
    for i, j in itertools.product(range(depth), range(1, depth + 1)):
        if i + j <= depth:
            edges |= {f"up_{i}_{j}": [f"x_{i + 1}_{j - 1}"]}
            edges |= {f"x_{i}_{j}": [f"up_{i}_{j}", *(f"x_{i}_{k}" for k in range(j))]}
    return edges | {f"head_{j}": [f"x_0_{j}"] for j in range(1, depth + 1)}


def full(name, **knobs):
    deep = {"deep_supervision": True} if name == "unet_pp" else {}
    return build(name, num_classes=2, widths=WIDTHS, **deep, **knobs)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("name", list(MODELS))
def test_every_node_reads_what_the_paper_says(name, padding):
    if padding not in MODELS[name].paddings:
        pytest.skip(f"{name} has no {padding} padding")
    module = full(name, padding=padding)
    size = module.input_size(16)
    image = images(1, size, size, 2)

    @quick_jit
    def run(variables, image):
        wires = Wires()
        with nn.intercept_methods(wires):
            module.apply(variables, image)
        return wires.inputs, wires.outputs

    inputs, outputs = run(random_variables(module, image), image)
    outputs = {"image": image, **outputs}
    edges = graph(name)
    assert set(inputs) == set(edges)
    for node, sources in edges.items():
        assert len(inputs[node]) == len(sources)
        for seen, source in zip(inputs[node], sources, strict=True):
            kind, _, of = source.rpartition(" ")
            expected = nn.max_pool(outputs[of], (2, 2), (2, 2)) if kind else outputs[of]
            off = [(a - b) // 2 for a, b in zip(expected.shape[1:3], seen.shape[1:3], strict=True)]
            middle = expected[:, off[0] : off[0] + seen.shape[1], off[1] : off[1] + seen.shape[2]]
            np.testing.assert_allclose(seen, middle, err_msg=f"{node} reads {source}")


@pytest.mark.parametrize("name", list(MODELS))
def test_every_source_of_every_node_feeds_its_head(name):
    """The gradient of each head on each source of each node that it can read, and on no other, is not zero."""
    module, image = full(name, activation="sigmoid"), images(1, 16, 16, 2)
    edges = graph(name)
    heads = [node for node in edges if node.startswith("head")]

    @quick_jit
    def run(variables, image):
        wires = Wires()
        with nn.intercept_methods(wires):
            module.apply(variables, image)
        zeros = jax.tree.map(jnp.zeros_like, wires.inputs)

        def outputs(parameters, perturbations):
            with nn.intercept_methods(Wires(perturbations)):
                return [jnp.square(head).sum() for head in module.apply({"params": parameters}, image)]

        return jax.jacrev(outputs, (0, 1))(variables["params"], zeros)

    gradients = run(random_variables(module, image), image)
    assert len(gradients) == len(heads)
    for head, (by_parameters, by_source) in zip(heads, gradients, strict=True):
        reached, queue = set(), [head]
        while queue:
            node = queue.pop()
            if node in edges and node not in reached:
                reached.add(node)
                queue += [source.removeprefix("pool ") for source in edges[node]]
        for node in edges:
            strengths = [float(jnp.abs(g).sum()) for g in by_source[node]]
            strengths += [float(jnp.abs(g).sum()) for g in jax.tree.leaves(by_parameters[node])]
            assert all((strength > 0) == (node in reached) for strength in strengths), f"{head} and {node}: {strengths}"
    assert reached == {node for node in edges if not node.startswith("head") or node == heads[-1]}


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_a_level_is_that_head_of_the_whole(norm):
    """Names are a subset, and logits are equal bit for bit, at an odd size too."""
    image = images(2, 21, 11, 1)
    whole = full("unet_pp", norm=norm)
    variables = random_variables(whole, image)
    heads = jax.jit(whole.apply)(variables, image)
    for level in (1, 2, 3):
        part = build("unet_pp", num_classes=2, widths=WIDTHS, norm=norm, level=level)
        nodes = {f"x_{i}_{j}" for i in range(level + 1) for j in range(level + 1 - i)}
        ups = {node.replace("x", "up") for node in nodes if not node.endswith("_0")}
        own = jax.eval_shape(part.init, jax.random.key(0), image)
        assert set(own["params"]) == nodes | ups | {f"head_{level}"}
        subset = {kind: {name: tree[name] for name in own[kind]} for kind, tree in variables.items()}
        (logits,) = jax.jit(part.apply)(subset, image)
        np.testing.assert_array_equal(logits, heads[level - 1])
    supervised = build("unet_pp", num_classes=2, widths=WIDTHS, level=2, deep_supervision=True)
    assert {name for name in shapes(supervised)["params"] if name.startswith("head")} == {"head_1", "head_2"}


@pytest.mark.parametrize(
    "knobs",
    [
        {"upsample": "bilinear", "norm": "group", "dtype": "bfloat16"},
        {"upsample": "nearest", "norm": "instance", "dropout": 0.5},
        {"norm": "batch", "activation": "sigmoid"},
    ],
    ids=lambda knobs: "-".join(map(str, knobs.values())),
)
@pytest.mark.parametrize("name", list(MODELS))
def test_any_size_comes_back(name, knobs):
    module, image = full(name, **knobs), images(2, 37, 53, 3)
    initial = jax.eval_shape(module.init, jax.random.key(0), image)
    assert {leaf.dtype for leaf in jax.tree.leaves(initial)} == {jnp.dtype(jnp.float32)}
    variables = random_variables(module, image)
    heads = quick_jit(module.apply)(variables, image)
    assert len(heads) == (1 if name == "unet" else 3)
    for logits in heads:
        assert logits.shape == (2, 37, 53, 2)
        assert logits.dtype == jnp.float32
        assert np.isfinite(logits).all()


@pytest.mark.parametrize("name", list(MODELS))
def test_an_odd_size_is_the_edge_repeated_at_the_end(name):
    module = full(name)
    image = images(1, 13, 7, 1)
    variables = random_variables(module, image)
    wide = jnp.pad(image, ((0, 0), (0, 3), (0, 1), (0, 0)), mode="edge")
    apply = quick_jit(module.apply)
    for a, b in zip(apply(variables, image), apply(variables, wide), strict=True):
        np.testing.assert_allclose(a, b[:, :13, :7], rtol=1e-6, atol=1e-6)


def test_a_valid_pixel_sees_no_border():
    """The logits of a window are those of the whole image there: what tiles rest on."""
    module = build("unet", num_classes=1, widths=(2, 3, 4), padding="valid", upsample="nearest")
    image = images(1, 60, 60, 1)
    variables = random_variables(module, image)
    (whole,), (window,) = (quick_jit(module.apply)(variables, i) for i in (image, image[:, 8:56, 4:60]))
    np.testing.assert_allclose(window, whole[:, 8:-4, 4:], rtol=1e-5, atol=1e-6)


def test_dropout_stands_where_the_papers_have_it():
    """U-Net: after its two deepest encoder levels. U-Net++: after every ReLU. Nowhere in evaluation."""
    places = {"unet": {"enc_2", "enc_3"}, "unet_pp": {n for n in graph("unet_pp") if n.startswith("x")}}
    for name, expected in places.items():
        module, image = full(name, dropout=0.5), images(1, 8, 8, 1)
        seen = set()

        def watch(next_function, args, kwargs, context, seen=seen):
            if isinstance(context.module, nn.Dropout) and context.module.rate and not kwargs["deterministic"]:
                seen.add(context.module.path[0])
            return next_function(*args, **kwargs)

        with nn.intercept_methods(watch):
            jax.eval_shape(lambda i, m=module: m.init({"params": jax.random.key(0)}, i), image)
            assert not seen
            rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
            jax.eval_shape(lambda i, m=module, r=rngs: m.init(r, i, train=True), image)
        assert seen == expected


def test_initialisation_is_he_and_glorot():
    """Standard deviations on kernels of many weights, to 3 %."""
    module = build("unet", num_classes=1, widths=(64, 128))
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
    alone = build("unet", num_classes=1, widths=(4, 8), norm="batch")
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
