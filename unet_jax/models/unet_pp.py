"""U-Net++ (Zhou et al.: "UNet++: A Nested U-Net Architecture for Medical Image Segmentation", DLMIA 2018; TMI 2020).

Equation 1 of the DLMIA paper, and its heads (section 3.2, figure 1):

    x^{0,0} = H(image)
    x^{i,0} = H(D(x^{i-1,0})),                                          i > 0
    x^{i,j} = H([x^{i,0}, ..., x^{i,j-1}, U(x^{i+1,j-1})]),             j > 0
    logits_j = 1x1 convolution of x^{0,j},                              j = 1 .. level

H, D and U are those of `blocks`. A node, its U and its head are the submodules `x_i_j`, `up_i_j`, `head_j`. The channels are
in the order of the authors' code, [U(x^{i+1,j-1}), x^{i,0}, ..., x^{i,j-1}]; another order would only permute the kernels. As
published (`variant="paper"`: widths 32-512, no normalisation, dropout 0.5 after every ReLU; one channel, one class) the
network has 9,041,601 parameters with one head and 9,041,700 with four.

The papers have no valid padding; it is an addition of this project. Each x^{i,k} is cropped to the middle that
U(x^{i+1,j-1}) covers, as the skips of U-Net are. Every x^{0,j} with a head is cropped to the middle that x^{0,depth} covers.
So all logits have one size, and the sizes are those of U-Net.
"""

from typing import Any, ClassVar, Self

import jax
from flax import linen as nn

from unet_jax.checks import boolean, whole
from unet_jax.errors import UserError
from unet_jax.models.blocks import max_pool
from unet_jax.models.grid import Grid
from unet_jax.models.operators import center_crop


class UNetPP(Grid):
    """U-Net++, a nested grid of nodes, optionally pruned to a level.

    Dropout follows every ReLU, as in the authors' network; inside an encoder there is none.

    Attributes:
      deep_supervision: True builds the heads 1 .. level, shallow to deep; False builds the deepest alone.
      level: L builds only the nodes with i + j <= L, which are all that head L reads. The names of its parameters are a
        subset of the full network's, and its logits are those of the full network's head L. 0 is the full depth. At any
        level, images are padded and valid logits cropped for the full depth; otherwise the borders of the logits would
        differ from the full network's.
    """

    VARIANTS: ClassVar[dict[str, dict[str, Any]]] = {
        "": {},
        "paper": {
            "widths": (32, 64, 128, 256, 512),
            "padding": "same",
            "norm": "none",
            "upsample": "transpose",
            "dropout": 0.5,
        },
    }

    widths: tuple[int, ...] = (32, 64, 128, 256, 512)
    deep_supervision: bool = False
    level: int = 0

    @nn.nowrap
    def check(self) -> None:
        """Raises UserError where an option has a value that the network cannot take."""
        super().check()
        whole(0, self.depth, why=f"there are {len(self.widths)} widths; 0 stands for all levels").check(
            "level", self.level
        )
        boolean().check("deep_supervision", self.deep_supervision)

    @property
    def levels(self) -> tuple[int, ...]:
        """The levels with a trained head, shallow to deep; the deepest alone without deep supervision."""
        deepest = self.level or self.depth
        return tuple(range(1, deepest + 1)) if self.deep_supervision else (deepest,)

    @property
    def num_heads(self) -> int:
        """The number of heads: one for each of `levels`."""
        return len(self.levels)

    @nn.nowrap
    def at_level(self, level: int, *, one_head: bool = False) -> Self:
        """Returns the part of the network that a level needs; it is applied to the same variables.

        Args:
          level: one of `levels`, or 0 for the network as it is.
          one_head: keeps only the head of the level; without it, the heads of all levels up to it are kept.

        Raises:
          UserError: the level has no trained head.
        """
        if level not in (0, *self.levels):
            why = "" if self.deep_supervision else ": the network was trained without deep supervision and has one head"
            allowed = ", ".join(map(str, self.levels))
            raise UserError(f"level {level} has no trained head{why}; allowed: 0, {allowed} (0: as trained)")
        return self.clone(level=level or self.level, deep_supervision=self.deep_supervision and not one_head)

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> tuple[jax.Array, ...]:
        """Returns the heads, shallow to deep: logits `[B, output_size(H), output_size(W), K]` float32 of `[B, H, W, C]`."""
        level = self.levels[-1]
        image = self.pad_to_multiple(images)
        dropout = (self.dropout, self.dropout)
        x = {(i, 0): feature_map for i, feature_map in self.encode(image, train, level).items()}
        for i in range(level + 1):
            if not self.encoder:
                x[i, 0] = self.node(f"x_{i}_0", i, dropout)([max_pool(x[i - 1, 0]) if i else image], train)
            # The diagonal that level i adds to the grid, up to x^{0,i}.
            for j in range(1, i + 1):
                row = i - j
                up = self.up(f"up_{row}_{j}", row)(x[row + 1, j - 1])
                size = (up.shape[1], up.shape[2])
                skips = [center_crop(x[row, k], size) for k in range(j) if (row, k) in x]
                x[row, j] = self.node(f"x_{row}_{j}", row, dropout)([up, *skips], train)
        return tuple(self.head(f"head_{j}")(self.crop_to_input(x[0, j], images)) for j in self.levels)
