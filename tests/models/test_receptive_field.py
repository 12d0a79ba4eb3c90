"""Which rows of the image the logits read, as the receptive field states it and as the network shows it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.large_images import trained
from helpers.one_conv import OneConv

from unet_jax import models
from unet_jax.models.receptive_field import ReadsWholeMap, trace

FOUR_POOLS = {"widths": (2, 2, 2, 2, 2)}


@pytest.mark.parametrize("name", ["unet", "unet_pp"])
def test_the_published_depth_reads_this_far(name):
    graph = trace(models.build(name, num_classes=2, **FOUR_POOLS))
    # From the wiring by hand: 94 rows and a position in the pools of at most 15, less what the two ends share.
    assert (graph.halo, graph.margin, graph.multiple, graph.offset) == (107, 96, 16, 0)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("unet", {"widths": (2, 2, 2)}),
        ("unet", {"widths": (2, 2, 2), "upsample": "bilinear"}),
        ("unet_pp", {"widths": (2, 2, 2), "padding": "valid"}),
        ("fc_densenet", {"variant": "", "stem_features": 2, "growth_rate": 2, "layers_per_block": (1, 2, 1)}),
    ],
)
def test_no_logit_reads_further_than_stated_and_some_read_as_far(name, options):
    """The gradient of a row of logits is 0 beyond the rows that it reads."""
    module, variables = trained(name, num_classes=2, **options)
    # Positive parameters let no ReLU hide a row.
    variables = jax.tree.map(abs, variables)
    graph = trace(module)
    image = np.random.default_rng(0).random((1, module.input_size(96), 48 + 2 * graph.offset, 1), np.float32)
    image = image[:, :, : module.input_size(image.shape[2] - 2 * graph.offset)]
    gradient = jax.jit(
        jax.grad(lambda image, row: jnp.take(module.apply(variables, image)[-1], row, 1).sum(), argnums=0)
    )
    found = []
    for row in range(48, 48 + graph.multiple):
        rows = np.flatnonzero(np.abs(gradient(image, row)).sum((0, 2, 3)))
        low, high = graph.reads(row, row)
        assert low <= rows[0]
        assert rows[-1] <= high
        found.append(max(row + graph.offset - rows[0], rows[-1] - row - graph.offset))
    # Where pools take a maximum, a row at the rim of a window may be none.
    assert graph.halo - graph.multiple <= max(found) <= graph.halo


@pytest.mark.parametrize(
    ("after", "halo"),
    [
        ("", 2),
        ("declared convolution", 3),
        ("pixels", 2),
        ("NaN", 2),
        ("join", 2),
        # A pixel of a pool reads those of its neighbour.
        ("join after a pool", 3),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_operations_on_each_pixel_and_declared_ones(after, halo, channels):
    assert trace(OneConv(num_classes=2, after=after), channels).halo == halo


@pytest.mark.parametrize(
    ("after", "message"),
    [
        ("plain convolution", "conv_general_dilated"),
        ("mean", "reduce_sum"),
        ("shift", "pad"),
        ("roll", "slice"),
        ("slices", "slice"),
        ("flip", "rev"),
        ("transposed", "transpose"),
        ("attention", "dot_general"),
        ("scan", "transpose"),
        ("reduce", "reduce"),
        ("columns", "reduce_max"),
        ("row numbers", "iota"),
        ("constant rows", "constant array"),
        ("height", "the height or the width"),
        ("power of the height", "the height or the width"),
        ("ratio", "the height or the width"),
        ("array of the width", "the height or the width"),
        ("jit of the width", "the height or the width"),
        ("crop by the height", "the height or the width"),
        ("no join", "without join"),
        ("no join after a pool", "without join"),
    ],
)
def test_what_reads_other_rows_without_saying_so_is_refused(after, message):
    with pytest.raises(ReadsWholeMap, match=message):
        trace(OneConv(num_classes=2, after=after))


@pytest.mark.parametrize("norm", ["group", "instance"])
def test_normalisation_over_the_map_reads_the_whole_map(norm):
    with pytest.raises(ReadsWholeMap):
        trace(models.build("unet", num_classes=2, widths=(2, 2), norm=norm))
