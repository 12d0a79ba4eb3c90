"""Nodes and skips found in every network; the similarity of maps by its definition."""

import functools

import numpy as np
import pytest
from helpers.skip_networks import graph

from unet_jax.analysis.skips import similarity
from unet_jax.models.encoders.registry import ENCODERS
from unet_jax.models.encoders.resnet import ResNet


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "nodes", "skips"),
    [
        (
            "unet",
            {"variant": "release", "widths": (2, 3, 4)},
            {"enc_0": 0, "enc_1": 1, "enc_2": 2, "dec_1": 3, "dec_0": 4},
            {"enc_0 -> dec_0": [("dec_0", "in", 3, 2)], "enc_1 -> dec_1": [("dec_1", "in", 3, 3)]},
        ),
        (
            "unet_pp",
            {"widths": (2, 3, 4), "deep_supervision": True},
            {"x_0_0": 0, "x_1_0": 1, "x_0_1": 2, "x_2_0": 2, "x_1_1": 3, "x_0_2": 4},
            {
                "x_0_0 -> x_0_1": [("x_0_1", "in", 2, 2)],
                "x_0_0 -> x_0_2": [("x_0_2", "in", 2, 2)],
                "x_0_1 -> x_0_2": [("x_0_2", "in", 4, 2)],
                "x_1_0 -> x_1_1": [("x_1_1", "in", 3, 3)],
            },
        ),
        (
            "unet",
            {"widths": (3, 2, 2, 4), "encoder": "small"},
            {"encoder_0": 1, "encoder_1": 2, "encoder_2": 3, "dec_2": 4, "dec_1": 5, "dec_0": 6},
            {"encoder_0 -> dec_1": [("dec_1", "in", 2, 2)], "encoder_1 -> dec_2": [("dec_2", "in", 2, 2)]},
        ),
        (
            "fcn",
            {"widths": (2, 2, 2, 2, 2, 2)},
            {"conv_1": 0, "conv_2": 1, "conv_3": 2, "conv_4": 3, "conv_5": 4, "fc": 5, "logits_0": 6},
            {"score_pool3": [("score_pool3", "out", 0, 3)], "score_pool4": [("score_pool4", "out", 0, 3)]},
        ),
        (
            "fc_densenet",
            {"stem_features": 4, "growth_rate": 3, "layers_per_block": (1, 2, 1)},
            {"down_0": 0, "bottleneck": 1, "up_0_0": 2},
            # The layer reads the skip, and so does the head, which reads the whole block.
            {"down_0 -> up_0_0": [(r, "in", c, n) for r in ("head", "up_0_0") for c, n in ((6, 4), (10, 3))]},
        ),
    ],
)
def test_nodes_and_skips_of_every_network(name, options, nodes, skips, monkeypatch):
    monkeypatch.setitem(ENCODERS, "small", functools.partial(ResNet, blocks=(1, 1), features=2))
    network = graph(name, **options)
    assert network.column == nodes
    assert {skip.name: [tuple(place) for place in skip.places] for skip in network.skips} == skips
    assert not {(skip.source, skip.reader) for skip in network.skips} & set(network.edges)
    if name == "fc_densenet":
        assert [place.name for place in network.nodes[0].places] == ["down_0_0", "first", "transition_down_0"]
        assert network.joins[0].maps == {"U": list(range(6)), "down_0": list(range(6, 13))}
    if name == "fcn":
        assert [skip.source for skip in network.skips] == ["conv_3", "conv_4"]
        assert ("fc", "logits_0") in network.edges


def cka(x, y):
    """Computes CKA from Gram matrices: HSIC(K, M) / sqrt(HSIC(K, K) HSIC(M, M)), HSIC(K, M) = tr(K H M H), H = 1 - 1/n."""
    h = np.eye(len(x)) - 1 / len(x)
    k, m = x @ x.T, y @ y.T
    return np.trace(k @ h @ m @ h) / np.sqrt(np.trace(k @ h @ k @ h) * np.trace(m @ h @ m @ h))


def test_cka_is_that_of_gram_matrices_whatever_the_rotation():
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(60, 4)) + 5, rng.normal(size=(60, 3))
    y = x[:, :3] ** 2 + 3 * noise
    turned = 7 * x @ np.linalg.qr(rng.normal(size=(4, 4)))[0] - 2
    z = np.concatenate([x, y, turned, np.ones((60, 1))], 1)
    total = similarity.Products()
    for part in (z[:7], z[7:40], z[40:]):
        total.add(len(part), part.mean(0), (part - part.mean(0)).T @ (part - part.mean(0)))
    a, b, c = [0, 1, 2, 3], [4, 5, 6], [7, 8, 9, 10]
    value = similarity.linear_cka(total.products, a, b)
    assert value == pytest.approx(cka(x, y), abs=1e-9)
    assert 0.1 < value < 0.9
    assert similarity.linear_cka(total.products, a, a) == pytest.approx(1)
    assert similarity.linear_cka(total.products, a, c) == pytest.approx(1)
    assert similarity.linear_cka(total.products, c, b) == pytest.approx(value)
    assert np.isnan(similarity.linear_cka(total.products, a, [11]))
