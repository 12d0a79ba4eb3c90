"""Compares the grids with the papers: their parameters, and what every node reads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from helpers.small_nets import GRIDS, full, graph, images, random_variables, shapes

from unet_jax.models import build
from unet_jax.runtime.unoptimized_jit import jit_without_optimization


@pytest.mark.parametrize("options", [{}, {"padding": "valid"}, {"variant": "same"}], ids=str)
def test_a_unet_has_the_papers_parameters(options):
    """The certificate counts those of the paper."""
    paper = build("unet", num_classes=2, variant="paper")
    module = build("unet", num_classes=2, **options)
    assert shapes(module, size=module.input_size(32)) == shapes(paper, size=paper.input_size(32))


@pytest.mark.parametrize("deep_supervision", [False, True])
@pytest.mark.parametrize("options", [{}, {"padding": "valid"}], ids=str)
def test_a_unet_pp_has_the_papers_parameters(options, deep_supervision):
    """The certificate counts those of the paper."""
    paper = build("unet_pp", num_classes=2, variant="paper", deep_supervision=deep_supervision)
    module = build("unet_pp", num_classes=2, deep_supervision=deep_supervision, **options)
    assert shapes(module, size=module.input_size(32)) == shapes(paper, size=32)


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


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("name", GRIDS)
def test_every_node_reads_what_the_paper_says(name, padding):
    module = full(name, padding=padding)
    size = module.input_size(16)
    image = images(1, size, size, 2)

    @jit_without_optimization
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
            kind, _, origin = source.rpartition(" ")
            expected = nn.max_pool(outputs[origin], (2, 2), (2, 2)) if kind else outputs[origin]
            off = [(a - b) // 2 for a, b in zip(expected.shape[1:3], seen.shape[1:3], strict=True)]
            middle = expected[:, off[0] : off[0] + seen.shape[1], off[1] : off[1] + seen.shape[2]]
            np.testing.assert_allclose(seen, middle, err_msg=f"{node} reads {source}")


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("name", GRIDS)
def test_every_source_of_every_node_feeds_its_head(name, padding):
    """The gradient of each head on each source of each node that it can read, and on no other, is not zero."""
    module = full(name, activation="sigmoid", padding=padding)
    size = module.input_size(16)
    image = images(1, size, size, 2)
    edges = graph(name)
    heads = [node for node in edges if node.startswith("head")]

    @jit_without_optimization
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
