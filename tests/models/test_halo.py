"""Where a network reads from is found from its operators; the certificate proves it (analysis/test_certify_halo.py)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from unet_jax import models
from unet_jax.models.conv import conv_of_any_size
from unet_jax.models.network import Network
from unet_jax.models.operators import crop, join
from unet_jax.models.receptive_field import ReadsWholeMap, trace


class OneConv(Network):
    """A convolution of 5x5, then `after`."""

    after: str = ""

    @property
    def multiple(self):
        return 1

    @nn.compact
    def __call__(self, images, train=False):
        x = self.pad_to_multiple(images)
        y = nn.Conv(2, (5, 5), conv_general_dilated=conv_of_any_size)(x)
        match self.after:
            case "plain convolution":
                y = nn.Conv(2, (3, 3))(y)
            case "mean":
                y = y - y.mean((1, 2), keepdims=True)
            case "shift":
                y = jax.lax.pad(y, 0.0, [(0, 0, 0), (1, -1, 0), (0, 0, 0), (0, 0, 0)])
            case "scan":
                by_row = y.transpose(1, 0, 2, 3)
                y = jax.lax.scan(lambda total, row: (total + row, total), by_row[0], by_row)[1].transpose(1, 0, 2, 3)
            case "reduce":
                y = y + jax.lax.reduce(y, 0.0, jax.lax.add, (1, 2))[:, None, None]
            case "columns":
                y = y + y.sum(-1).max(-1)[..., None, None]
            case "row numbers":
                y = y + jnp.arange(y.shape[1]).reshape(1, -1, 1, 1)
            case "constant rows":
                y = y + np.linspace(0, 1, y.shape[1], dtype=np.float32).reshape(1, -1, 1, 1)
            case "height":
                y = y / y.shape[1]
            case "power of the height":
                y = y ** y.shape[1]
            case "ratio":
                y = nn.relu(y * np.float32(y.shape[1] / y.shape[2]))
            case "array of the width":
                y = y + np.full((1, 1, 1, 1), y.shape[2])
            case "jit of the width":
                y = jax.jit(lambda y: jnp.clip(y, 0, images.shape[2]))(y)
            case "crop by the height":
                y = crop(y, (y.shape[1] // 4, 0), (y.shape[1] // 2, y.shape[2]))
            case "join":
                x, y = join([x, y])
                y = jnp.concatenate([x, y], -1)
            case "no join":
                y = jnp.concatenate([x, y], -1)
                y = nn.Conv(2, (3, 3), conv_general_dilated=conv_of_any_size)(y)
            case "pixels":
                y = nn.softmax(nn.LayerNorm()(nn.gelu(2 * y + np.full((1, 1, 1, 1), 3))))
            case "NaN":
                y = jnp.where(y > 7, jnp.nan, y)
        return (self.head("head")(y),)


def test_the_halo_of_published_networks():
    """The numbers of large-images.md are tested in documents/test_halo_table.py."""
    network = models.build("unet_pp", num_classes=2, widths=(1, 1, 1), deep_supervision=True)
    assert [network.at_level(level).halo for level in (1, 2, 0)] == [9, 23, 23]
    assert models.build("unet", num_classes=2, widths=(1, 1), norm="batch", dtype="bfloat16").halo == 9
    for norm in ("group", "instance"):
        assert models.build("unet", num_classes=2, widths=(2, 2), norm=norm).halo is None


@pytest.mark.parametrize(
    ("after", "halo"),
    [
        ("", 2),
        ("pixels", 2),
        ("NaN", 2),
        ("join", 2),
        ("plain convolution", None),
        ("mean", None),
        ("shift", None),
        ("scan", None),
        ("reduce", None),
        ("columns", None),
        ("row numbers", None),
        ("constant rows", None),
        ("height", None),
        ("power of the height", None),
        ("ratio", None),
        ("array of the width", None),
        ("jit of the width", None),
        ("crop by the height", None),
        ("no join", None),
    ],
)
def test_operations_between_operators(after, halo):
    """Each pixel by itself, or the network reads the whole map."""
    assert OneConv(num_classes=2, after=after).halo == halo


@pytest.mark.parametrize(
    ("after", "message"), [("mean", "reduce_sum"), ("no join", "without join"), ("height", "the height or the width")]
)
def test_the_error_names_the_operation(after, message):
    with pytest.raises(ReadsWholeMap, match=message):
        trace(OneConv(num_classes=2, after=after))


def test_the_margin_suffices_for_an_aligned_part():
    """All that rows 0 .. multiple - 1 of the logits read, and at most one multiple more."""
    for upsample in ("transpose", "bilinear"):
        graph = trace(models.build("unet", num_classes=2, widths=(1, 1, 1), upsample=upsample))
        low, high = graph.reads(0, graph.multiple - 1)
        farthest = max(-low, high - graph.multiple + 1)
        assert farthest <= graph.margin < farthest + graph.multiple
        assert graph.margin < graph.halo + graph.multiple
