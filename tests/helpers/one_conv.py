"""A small network with one operation after its convolution, which acts on each pixel by itself or does not."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from unet_jax.models.blocks import max_pool, upsample_nearest_2x
from unet_jax.models.conv import conv_general_dilated, conv_of_any_size
from unet_jax.models.network import Network
from unet_jax.models.operators import crop, join


class OneConv(Network):
    """A convolution of 5x5, then `after`."""

    after: str = ""

    @property
    def multiple(self):
        return 2

    @nn.compact
    def __call__(self, images, train=False):
        x = self.pad_to_multiple(images)
        y = nn.Conv(2, (5, 5), conv_general_dilated=conv_of_any_size)(x)
        match self.after:
            case "plain convolution":
                y = nn.Conv(2, (3, 3))(y)
            case "declared convolution":
                y = nn.Conv(2, (3, 3), conv_general_dilated=conv_general_dilated)(y)
            case "pixels":
                y = nn.softmax(nn.LayerNorm()(nn.gelu(2 * y + np.full((1, 1, 1, 1), 3))))
                y = nn.Conv(2, (1, 1))(y)
            case "NaN":
                y = jnp.where(y > 7, jnp.nan, y)
            case "mean":
                y = y - y.mean((1, 2), keepdims=True)
            case "shift":
                y = jax.lax.pad(y, 0.0, [(0, 0, 0), (1, -1, 0), (0, 0, 0), (0, 0, 0)])
            case "roll":
                y = jnp.roll(y, 1, axis=1)
            case "slices":
                y = y + jnp.pad(y[:, 1:], ((0, 0), (0, 1), (0, 0), (0, 0)))
            case "flip":
                y = y[:, ::-1]
            case "transposed":
                y = y.transpose(0, 2, 1, 3)
            case "attention":
                y = jnp.einsum("bhwc,bkwc->bhkc", y, y)
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
            case "join after a pool":
                x, y = join([x, upsample_nearest_2x(max_pool(y))])
                y = x + y
            case "no join after a pool":
                y = x + upsample_nearest_2x(max_pool(y))
        return (self.head("head")(y),)
