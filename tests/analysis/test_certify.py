"""The certificate passes for our networks, and not for others."""

import json
import subprocess
import sys

import numpy as np
import pytest
from flax import linen as nn

from unet_jax import models
from unet_jax.analysis import reference
from unet_jax.analysis.certify import counts, deviations, parity, randomness, sizes, wiring
from unet_jax.models import unet, unet_pp


def test_every_network_is_the_published_one(tmp_path):
    out = tmp_path / "page" / "certificate.json"
    command = [sys.executable, "-m", "unet_jax.analysis.certify", f"--out={out}", "--config=configs/default.py"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads(out.read_text())
    assert len(written["checks"]) >= 60
    assert all(check["passed"] and check["source"] for check in written["checks"])
    assert done.stdout.count("PASS  ") == len(written["checks"])
    assert {"U-Net paper", "U-Net release", "U-Net++ four heads"} <= {check["network"] for check in written["checks"]}
    assert any("norm='batch'" in line for line in written["config"])  # of the config given
    assert all(line in done.stdout for line in written["deviations"])


def failed(part, network):
    return [check.claim for check in part.checks() if check.network == network and not check.passed]


def test_another_number_of_parameters_fails(monkeypatch):
    monkeypatch.setitem(models.UNet.VARIANTS["wide"], "widths", (35, 70, 140, 280, 561))
    assert failed(counts, "U-Net wide") == ["parameters, 1 channel -> 1 class"]


def test_a_lost_skip_and_another_order_fail(monkeypatch):
    class Reordered(models.UNetPP):
        def node(self, *args, **kwargs):
            block = super().node(*args, **kwargs)
            return lambda sources, train: block(sources[::-1], train)

    class Lost(models.UNetPP):
        def node(self, name, *args, **kwargs):
            block = super().node(name, *args, **kwargs)
            return lambda sources, train: block(sources[:-1] if name == "x_0_3" else sources, train)

    for broken, said in ((Reordered, "reads x_0_0"), (Lost, "x_0_3 reads up_0_3:2, x_0_0:2, x_0_1:2, not up_0_3:2")):
        monkeypatch.setitem(models.MODELS, "unet_pp", broken)
        found = wiring.reads(models.build("unet_pp", num_classes=3, widths=wiring.WIDTHS, deep_supervision=True))
        assert said in wiring._describe(found, wiring.unet_pp())


def test_another_start_and_another_dropout_fail(monkeypatch):
    for table in ("STARTS", "DROPOUTS"):
        monkeypatch.setattr(randomness, table, [row for row in getattr(randomness, table) if row[0] == "U-Net release"])
    monkeypatch.setattr(unet, "_XAVIER", nn.initializers.glorot_uniform())
    monkeypatch.setattr(
        models.UNet, "node", lambda self, name, level, dropout=(0, 0): GRID_NODE(self, name, level, (0.5, 0.5))
    )
    assert failed(randomness, "U-Net release") == ["std of the initial kernels, biases 0", "dropout stands after"]


GRID_NODE = models.UNet.node


def test_another_size_fails(monkeypatch):
    monkeypatch.setattr(models.UNet, "output_size", lambda self, size: size - self.margin)
    assert failed(sizes, "U-Net paper") == ["sizes up to 700 that it takes"]


def test_another_operator_fails(monkeypatch):
    monkeypatch.setattr(parity, "CASES", [case for case in parity.CASES if case[0] in ("U-Net same", "U-Net++ paper")])
    monkeypatch.setattr(unet, "max_pool", lambda x: x[:, ::2, ::2])
    assert failed(parity, "U-Net same")
    assert not failed(parity, "U-Net++ paper")
    monkeypatch.setattr(unet_pp, "max_pool", lambda x: x[:, ::2, ::2])
    assert failed(parity, "U-Net++ paper")


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_the_references_convolution_is_its_sum(padding):
    rng = np.random.default_rng(0)
    x, kernel, bias = rng.normal(size=(5, 6, 2)), rng.normal(size=(3, 3, 2, 4)), rng.normal(size=4)
    y = reference.convolution(x, kernel, bias, padding)
    assert y.shape == ((5, 6, 4) if padding == "same" else (3, 4, 4))
    i, j = (2, 3) if padding == "same" else (1, 2)
    assert y[i, j, 3] == pytest.approx(bias[3] + np.sum(x[1:4, 2:5] * kernel[..., 3]))
    if padding == "same":
        assert y[0, 0, 1] == pytest.approx(bias[1] + np.sum(x[:2, :2] * kernel[1:, 1:, :, 1]))


def test_deviations_of_a_network():
    paper = models.build("unet_pp", num_classes=1, variant="paper", activation="sigmoid")
    assert deviations.of("unet_pp", paper) == []
    own = models.build("unet", num_classes=3, widths=(8, 16), norm="batch", dtype="bfloat16", activation="sigmoid")
    found = deviations.of("unet", own)
    assert [line.partition("=")[0] for line in found] == ["padding", "norm", "widths", "activation", "dtype", "variant"]
    fcn = models.build("fcn", num_classes=3, widths=(8, 8, 8, 8, 8, 8))
    assert [line.partition("=")[0] for line in deviations.of("fcn", fcn)] == ["widths"]
    assert deviations.of("fc_densenet", models.build("fc_densenet", num_classes=3, variant="67")) == []
