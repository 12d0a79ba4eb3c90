"""The certificate passes for our networks, and not for others."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from unet_jax import models
from unet_jax.analysis.certify import counts, deviations, parity, randomness, sizes, wiring
from unet_jax.analysis.reference import fcn as fcn_reference
from unet_jax.analysis.reference import operators
from unet_jax.models import fc_densenet, fcn, registry, unet, unet_pp
from unet_jax.models.blocks import max_pool
from unet_jax.models.fc_densenet import FCDenseNet
from unet_jax.models.fcn import FCN
from unet_jax.models.unet import UNet
from unet_jax.models.unet_pp import UNetPP

ROOT = Path(__file__).parents[2]


def test_every_network_is_the_published_one(tmp_path):
    out = tmp_path / "page" / "certificate.json"
    command = [sys.executable, "-m", "unet_jax.programs.certify", "--config=default", f"--out={out}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads(out.read_text())
    assert len(written["checks"]) >= 108
    assert all(check["passed"] and check["source"] for check in written["checks"])
    assert done.stdout.count("PASS  ") == len(written["checks"])
    # Each network has every kind of check.
    for network in ("U-Net paper", "U-Net++", "FCN-8s", "FC-DenseNet"):
        claims = " ".join(check["claim"] for check in written["checks"] if check["network"].startswith(network))
        kinds = ("parameters", "pixels", "reads", "kernels", "dropout", "NumPy")
        assert all(kind in claims for kind in kinds), network
    for network in ("U-Net", "U-Net++", "FCN-32s", "FCN-16s", "FCN-8s", "FC-DenseNet"):
        assert any("halo" in check["claim"] for check in written["checks"] if check["network"] == network), network
    # The deviations of the config given.
    assert any("norm='batch'" in line for line in written["config"])
    assert all(line in done.stdout for line in written["deviations"])


def failed(part, network):
    return failed_of(part.checks(), network)


def failed_of(checks, network):
    return [check.claim for check in checks if check.network == network and not check.passed]


def assert_about(claims, *words):
    """Checks that there is one claim for each of the words, in this order, and that it has the word."""
    assert [word in claim for word, claim in zip(words, claims, strict=True)] == [True] * len(words), claims


def test_another_number_of_parameters_fails(monkeypatch):
    monkeypatch.setitem(UNet.VARIANTS["wide"], "widths", (35, 70, 140, 280, 561))
    monkeypatch.setattr(counts, "PUBLISHED", [row for row in counts.PUBLISHED if row[0] == "U-Net wide"])
    # The first check; the others are of other networks.
    assert_about(failed_of([next(counts.checks())], "U-Net wide"), "parameters")


def test_a_lost_skip_and_another_order_fail(monkeypatch):
    class Reordered(UNetPP):
        def node(self, *args, **kwargs):
            block = super().node(*args, **kwargs)
            return lambda sources, train: block(sources[::-1], train)

    class Lost(UNetPP):
        def node(self, name, *args, **kwargs):
            block = super().node(name, *args, **kwargs)
            return lambda sources, train: block(sources[:-1] if name == "x_0_3" else sources, train)

    for broken, message in ((Reordered, "reads x_0_0"), (Lost, "x_0_3 reads up_0_3:2, x_0_0:2, x_0_1:2, not up_0_3:2")):
        monkeypatch.setitem(registry.MODELS, "unet_pp", broken)
        edges = wiring.reads(models.build("unet_pp", num_classes=3, widths=wiring.WIDTHS, deep_supervision=True))
        assert message in wiring._describe(edges, wiring.unet_pp())


DENSE = {"stem_features": 4, "growth_rate": 3, "layers_per_block": (1, 2, 1)}


def reversed_maps(maps, axis):
    return jnp.concatenate(maps[::-1], axis)


def all_maps(self, name, number, x, train, block=FCDenseNet.block):
    return (block(self, name, number, x, train)[1],) * 2


def without_skip(self, name, number, x, train, block=FCDenseNet.block):
    return block(self, name, number, x[..., :6] if name == "up_0" else x, train)


@pytest.mark.parametrize(
    ("place", "attribute", "broken", "message"),
    [
        (fc_densenet, "jnp", SimpleNamespace(**vars(jnp) | {"concatenate": reversed_maps}), "reads bottleneck_0:3, D("),
        (FCDenseNet, "block", all_maps, "head reads transition_up_0:13, first:4, down_0_0:3, up_0_0:3, not"),
        (
            FCDenseNet,
            "block",
            without_skip,
            "head reads transition_up_0:6, up_0_0:3, not transition_up_0:6, fir",
        ),
    ],
)
def test_another_wiring_of_a_dense_network_fails(monkeypatch, place, attribute, broken, message):
    monkeypatch.setattr(place, attribute, broken)
    edges = wiring.reads(models.build("fc_densenet", num_classes=3, **DENSE), 4)
    assert message in wiring._describe(edges, wiring.fc_densenet(**DENSE))


def test_the_score_of_another_map_fails(monkeypatch):
    monkeypatch.setattr(fcn, "SKIPS", (("score_pool4", 3, 5), ("score_pool3", 3, 9)))
    edges = wiring.reads(models.build("fcn", num_classes=3, widths=wiring.VGG_WIDTHS), 26)
    assert wiring._describe(edges, wiring.fcn()) == "score_pool4 reads D(conv_3_3):4, not D(conv_4_3):5"


def test_another_start_and_another_dropout_fail(monkeypatch):
    for table in ("STARTS", "DROPOUTS"):
        monkeypatch.setattr(randomness, table, [row for row in getattr(randomness, table) if row[0] == "U-Net release"])
    monkeypatch.setattr(unet, "_XAVIER", nn.initializers.glorot_uniform())
    monkeypatch.setattr(
        UNet, "node", lambda self, name, level, dropout=(0, 0): GRID_NODE(self, name, level, (0.5, 0.5))
    )
    checks = (*randomness.initial_weights(), *randomness.dropout())
    assert_about(failed_of(checks, "U-Net release"), "std of", "ReLU")


def test_fcn_and_fc_densenet_with_another_start_or_dropout_fail(monkeypatch):
    monkeypatch.setattr(randomness, "STARTS", [row for row in randomness.STARTS if row[0] == "FC-DenseNet"])
    rows = {row[0]: row for row in randomness.DROPOUTS}

    def with_rate(label, rate):
        return (*rows[label][:2], rows[label][2] | {"dropout": rate}, *rows[label][3:])

    monkeypatch.setattr(randomness, "DROPOUTS", [with_rate("FCN-8s", 0.0), with_rate("FC-DenseNet", 0.3)])
    monkeypatch.setattr(fc_densenet, "_HE_UNIFORM", nn.initializers.he_normal())
    monkeypatch.setattr(FCN, "score", lambda self, name: nn.Conv(self.num_classes, (1, 1), name=name))
    assert_about(failed(randomness, "FCN-8s"), "start at 0", "ReLU")
    assert_about(failed(randomness, "FC-DenseNet"), "largest weight", "scaled")


GRID_NODE = UNet.node


def test_another_size_fails(monkeypatch):
    monkeypatch.setattr(UNet, "output_size", lambda self, size: size - self.margin)
    # An odd size is rounded down.
    monkeypatch.setattr(fcn, "ceil_pool", lambda x: max_pool(x[:, : x.shape[1] & ~1, : x.shape[2] & ~1]))
    monkeypatch.setattr(FCDenseNet, "crop_to_input", lambda self, x, images: x)
    assert_about([check.claim for check in sizes._grids() if not check.passed], "up to 700", "up to 700")
    assert not next(sizes._fcn()).passed
    assert [check.passed for check in sizes._fc_densenet()] == [True, False]


def test_another_operator_fails(monkeypatch):
    monkeypatch.setattr(parity, "CASES", [case for case in parity.CASES if case[0] in ("U-Net same", "U-Net++ paper")])
    monkeypatch.setattr(unet, "max_pool", lambda x: x[:, ::2, ::2])
    assert failed(parity, "U-Net same")
    assert not failed(parity, "U-Net++ paper")
    monkeypatch.setattr(unet_pp, "max_pool", lambda x: x[:, ::2, ::2])
    assert failed(parity, "U-Net++ paper")


@pytest.mark.parametrize(
    ("label", "place", "attribute", "broken"),
    [
        ("FCN-32s", fcn, "upsample", lambda x, factor, up=fcn.upsample: jnp.roll(up(x, factor), 1, 1)),
        ("FCN-16s", fcn, "STRIDES", {16: (1, 26)}),
        ("FCN-8s", fcn, "SKIPS", (("score_pool4", 4, 5), ("score_pool3", 3, 8))),
        (
            "FC-DenseNet",
            fc_densenet,
            "conv_transpose_3x3",
            lambda x, k, up=fc_densenet.conv_transpose_3x3: up(x, k[::-1, ::-1]),
        ),
    ],
)
def test_another_operator_of_fcn_or_fc_densenet_fails(monkeypatch, label, place, attribute, broken):
    monkeypatch.setattr(parity, "CASES", [case for case in parity.CASES if case[0] == label])
    monkeypatch.setattr(place, attribute, broken)
    assert failed(parity, label)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_the_references_convolution_is_its_sum(padding):
    rng = np.random.default_rng(0)
    x, kernel, bias = rng.normal(size=(5, 6, 2)), rng.normal(size=(3, 3, 2, 4)), rng.normal(size=4)
    y = operators.convolution(x, kernel, bias, padding)
    assert y.shape == ((5, 6, 4) if padding == "same" else (3, 4, 4))
    i, j = (2, 3) if padding == "same" else (1, 2)
    assert y[i, j, 3] == pytest.approx(bias[3] + np.sum(x[1:4, 2:5] * kernel[..., 3]))
    if padding == "same":
        assert y[0, 0, 1] == pytest.approx(bias[1] + np.sum(x[:2, :2] * kernel[1:, 1:, :, 1]))


def test_the_references_transposed_convolution_is_its_sum():
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(3, 4, 2)), rng.normal(size=(3, 3, 2, 5))
    y = operators.transposed_convolution(x, kernel, 2)
    assert y.shape == (7, 9, 5)
    # Row 2 = 2 * 1 + 0 = 2 * 0 + 2, column 5 = 2 * 2 + 1.
    meets = [x[1, 2] @ kernel[0, 1], x[0, 2] @ kernel[2, 1]]
    np.testing.assert_allclose(y[2, 5], sum(meets))
    # The authors' 4 x 4 kernel.
    weights = np.array([1, 3, 3, 1]) / 4
    np.testing.assert_allclose(fcn_reference.bilinear(2, 3)[:, :, 1, 1], np.outer(weights, weights))
    assert not fcn_reference.bilinear(2, 3)[:, :, 0, 1].any()


def test_deviations_of_a_network():
    paper = models.build("unet_pp", num_classes=1, variant="paper", activation="sigmoid")
    assert deviations.of("unet_pp", paper) == []
    other = models.build("unet", num_classes=3, widths=(8, 16), norm="batch", dtype="bfloat16", activation="sigmoid")
    lines = deviations.of("unet", other)
    assert [line.partition("=")[0] for line in lines] == ["padding", "norm", "widths", "activation", "dtype", "variant"]
    fcn = models.build("fcn", num_classes=3, widths=(8, 8, 8, 8, 8, 8))
    assert [line.partition("=")[0] for line in deviations.of("fcn", fcn)] == ["widths"]
    assert deviations.of("fc_densenet", models.build("fc_densenet", num_classes=3, variant="67")) == []
