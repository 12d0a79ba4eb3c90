"""Feature reuse: each slice of a kernel belongs to the source whose maps it reads."""

import csv
import functools
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from unet_jax import models
from unet_jax.analysis import reuse
from unet_jax.analysis.certify.check import random_variables
from unet_jax.errors import UserError
from unet_jax.models.encoders.registry import ENCODERS
from unet_jax.models.encoders.resnet import ResNet
from unet_jax.runs import load


def trained(name, **options):
    module = models.build(name, num_classes=2, **options)
    return module, random_variables(module, 1, module.input_size(32))


def test_each_source_of_a_node_has_its_slice():
    module, variables = trained("unet_pp", widths=(2, 3, 4), deep_supervision=True)
    # Input channels: 2 of U, 2 of x_0_0, 2 of x_0_1.
    kernel = variables["params"]["x_0_2"]["conv_0"]["kernel"]
    kernel[:, :, 2:4] = 3.0
    kernel[:, :, 4:6] = -0.0
    uses = [use for use in reuse.uses(module, variables, 1) if use.reader == "x_0_2"]
    assert [(use.source, use.channels) for use in uses] == [("U", 2), ("x^{i,0}", 2), ("x^{i,1}", 2)]
    assert uses[0].weight == pytest.approx(np.abs(kernel[:, :, :2]).mean())
    assert (uses[1].weight, uses[2].weight) == (3.0, 0.0)
    assert uses[1].relative == pytest.approx(3.0 / np.abs(kernel).mean())


def test_a_dense_block_reads_its_input_and_its_own_layers(tmp_path):
    module, variables = trained("fc_densenet", stem_features=4, growth_rate=3, layers_per_block=(1, 2, 2, 2, 1))
    uses = reuse.uses(module, variables, 1)
    by_reader = {}
    for use in uses:
        by_reader.setdefault((use.block, use.reader), {})[use.source] = use.channels
    assert by_reader["bottleneck", "bottleneck_1"] == {"input": 4 + 3 + 2 * 3, "bottleneck_0": 3}
    # The input of a block on the way up: the up-sampled new maps, and the skip, which is the whole block at that level.
    assert by_reader["up_1", "up_1_1"] == {"input": 2 * 3 + (4 + 3 + 2 * 3), "up_1_0": 3}
    kernel = variables["params"]["up_1_1"]["conv"]["kernel"]
    use = next(use for use in uses if (use.reader, use.source) == ("up_1_1", "up_1_0"))
    assert use.weight == pytest.approx(np.abs(kernel[:, :, -3:]).mean())

    written = reuse.write(uses, tmp_path / "new")
    with written[0].open() as file:
        rows = list(csv.DictReader(file))
    assert [row["source"] for row in rows] == [use.source for use in uses]
    assert float(rows[0]["weight"]) == pytest.approx(uses[0].weight)
    with Image.open(written[1]) as picture:
        assert min(picture.size) > 200
    assert dict.fromkeys(use.block for use in uses).keys() == {"down_1", "bottleneck", "up_1", "up_0"}
    maps = {block: (readers, sources, weights) for block, readers, sources, weights in reuse._maps(uses)}
    readers, sources, weights = maps["up_1"]
    assert (readers, sources) == (["up_1_0", "up_1_1"], ["input", "up_1_0"])
    assert np.isnan(weights[1, 0])
    assert weights[1, 1] == use.weight


def test_a_network_without_reuse_is_refused():
    module, variables = trained("fcn", widths=(2, 2, 2, 2, 2, 2))
    with pytest.raises(UserError, match="FCN"):
        reuse.uses(module, variables, 1)


@pytest.mark.parametrize("name", ["unet", "unet_pp"])
def test_an_encoders_maps_are_sources(name, monkeypatch):
    monkeypatch.setitem(ENCODERS, "small", functools.partial(ResNet, blocks=(1, 1), features=2))
    module, variables = trained(name, widths=(3, 2, 2, 4), encoder="small")
    node, skip = ("dec_1", "skip") if name == "unet" else ("x_1_1", "x^{i,0}")
    sources = [(use.source, use.channels) for use in reuse.uses(module, variables, 1) if use.reader == node]
    assert sources == [("U", 2), (skip, 2)]


def test_a_dead_unit_does_not_hide_a_source():
    module, variables = trained("unet", variant="release", widths=(2, 3))
    variables["params"]["up_0"]["bias"][1] = -1e3
    sources = [use.source for use in reuse.uses(module, variables, 1)]
    assert sources == ["U", "skip"]


def test_the_program_on_a_run_of_one_head(monkeypatch, tmp_path, capsys):
    """A run that predicts by its deepest head is opened with all heads."""
    module, variables = trained("unet_pp", widths=(2, 3, 4), deep_supervision=True)
    asked = {}

    def open_run(workdir, **chosen):
        asked.update(chosen)
        return SimpleNamespace(step=7, predictor=SimpleNamespace(module=module, variables=variables, channels=1))

    monkeypatch.setattr(load, "open_run", open_run)
    reuse.measure_run(str(tmp_path), checkpoint="latest")
    assert asked == {"checkpoint": "latest", "mode": "accurate"}
    assert (tmp_path / "reuse" / "reuse.png").exists()
    assert "x_0_2" in capsys.readouterr().out
