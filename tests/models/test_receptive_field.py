"""Which rows of the image the logits read, as the receptive field states it and as the network shows it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from helpers.large_images import trained

from unet_jax import models
from unet_jax.models.blocks import max_pool, upsample_nearest_2x
from unet_jax.models.conv import conv_general_dilated
from unet_jax.models.network import Network
from unet_jax.models.operators import join
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


class Made(Network):
    """A network of one part, to be refused or not."""

    part: str = "plain"

    @property
    def multiple(self):
        return 2

    @nn.nowrap
    def check(self):
        """Accepts everything."""

    @nn.compact
    def __call__(self, images, train=False):
        x = images
        if self.part == "plain":
            x = nn.Conv(2, (3, 3))(x)
        elif self.part == "declared":
            x = nn.Conv(2, (3, 3), conv_general_dilated=conv_general_dilated)(x)
        elif self.part == "pixels":
            x = nn.Conv(2, (1, 1))(nn.LayerNorm()(nn.softmax(x)))
        elif self.part == "mean":
            x = x - x.mean((1, 2), keepdims=True)
        elif self.part == "shift":
            x = jnp.roll(x, 1, axis=1)
        elif self.part == "slices":
            x = x + jnp.pad(x[:, 1:], ((0, 0), (0, 1), (0, 0), (0, 0)))
        elif self.part == "flip":
            x = x[:, ::-1]
        elif self.part == "transposed":
            x = x.transpose(0, 2, 1, 3)
        elif self.part == "attention":
            x = jnp.einsum("bhwc,bkwc->bhkc", x, x)
        elif self.part in ("joined", "missing"):
            y = upsample_nearest_2x(max_pool(nn.Conv(1, (3, 3), conv_general_dilated=conv_general_dilated)(x)))
            x, y = join([x, y]) if self.part == "joined" else (x, y)
            x = x + y
        return (nn.Conv(self.num_classes, (1, 1))(x),)


@pytest.mark.parametrize("part", ["plain", "mean", "shift", "slices", "flip", "transposed", "attention", "missing"])
def test_what_reads_other_rows_without_saying_so_is_refused(part):
    with pytest.raises(ReadsWholeMap):
        trace(Made(num_classes=2, part=part))


@pytest.mark.parametrize(("part", "halo"), [("declared", 1), ("pixels", 0), ("joined", 2)])
def test_what_says_so_is_not(part, halo):
    assert trace(Made(num_classes=2, part=part), channels=3 if part == "pixels" else 1).halo == halo


@pytest.mark.parametrize("norm", ["group", "instance"])
def test_normalisation_over_the_map_reads_the_whole_map(norm):
    with pytest.raises(ReadsWholeMap):
        trace(models.build("unet", num_classes=2, widths=(2, 2), norm=norm))
