"""Compares the maps that a node concatenates by linear CKA.

Source: Kornblith, Norouzi, Lee, Hinton: "Similarity of Neural Network Representations Revisited", ICML 2019, section 3.
X `[n, p]` and Y `[n, q]` are the channels of two maps at the same n pixels, minus the mean of each channel:

    CKA(X, Y) = ||Y^T X||_F^2 / (||X^T X||_F ||Y^T Y||_F)

It lies between 0 and 1, and is 1 for maps that are equal up to a rotation of their channels and one scale. It needs only
the products of channels, so it is computed over all pixels of all images, without sampling. With so many pixels, the bias
that CKA has for small n / p is negligible.
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from unet_jax.analysis.skips import replace
from unet_jax.analysis.skips.graph import Graph, Place
from unet_jax.inference.predictor import Predictor


class Pair(NamedTuple):
    """Holds the CKA of two maps that a node concatenates.

    Attributes:
      node: name of the node.
      level: its level.
      a: name of the first map; "U" is the up-sampled one.
      b: name of the second map.
      distance: the number of skips between `b` and the node: of [U, x^{i,0}, ..., x^{i,j-1}] the last has 0.
      cka: the similarity, 0 to 1.
    """

    node: str
    level: int
    a: str
    b: str
    distance: int
    cka: float


@dataclasses.dataclass
class Products:
    """Accumulates the means and products of centred channels over pixels, in float64.

    Attributes:
      pixels: the number of pixels.
      mean: mean of each channel, `[C]`.
      products: sums of the products of centred channels, `[C, C]`.
    """

    pixels: int = 0
    mean: Any = 0.0
    products: Any = 0.0

    def add(self, pixels: int, mean: np.ndarray, products: np.ndarray) -> None:
        """Adds pixels, without cancellation of large numbers (Chan, Golub, LeVeque 1983).

        Args:
          pixels: the number of pixels.
          mean: their mean of each channel, `[C]`.
          products: sums of the products of their channels, centred by `mean`, `[C, C]`.
        """
        total = self.pixels + pixels
        step = mean.astype(np.float64) - self.mean
        self.products = self.products + products.astype(np.float64)
        self.products = self.products + np.outer(step, step) * (self.pixels * pixels / total)
        self.mean = self.mean + step * (pixels / total)
        self.pixels = total


def linear_cka(products: np.ndarray, a: list[int], b: list[int]) -> float:
    """Computes the CKA of two groups of channels.

    Args:
      products: products of all centred channels, `[C, C]`.
      a: channels of the first group.
      b: channels of the second group.

    Returns:
      CKA, 0 to 1; NaN if all channels of a group are constant.

    >>> x = np.array([[1.0, 2.0, 0.0], [-1.0, -2.0, 0.0]])
    >>> linear_cka(x.T @ x, [0], [1]), linear_cka(x.T @ x, [0], [2])
    (1.0, nan)
    """
    between, within_a, within_b = (products[np.ix_(x, y)] for x, y in ((a, b), (a, a), (b, b)))
    norms = np.linalg.norm(within_a) * np.linalg.norm(within_b)
    return float(np.linalg.norm(between) ** 2 / norms) if norms > 0 else float("nan")


def compare_maps(
    predictor: Predictor,
    graph: Graph,
    source: Any,
    *,
    batch_size: int,
    progress: Callable[[int, int], None] = lambda done, number: None,
) -> list[Pair]:
    """Compares every pair of maps at every node that concatenates some, over all pixels of the maps.

    Images are padded as in an evaluation, and the mirrored pixels count.

    Args:
      predictor: the trained network.
      graph: the graph of `predictor.network`.
      source: random access to Examples.
      batch_size: batch size of a forward pass.
      progress: called with the number of images that are done, and their total.
    """
    sizes = {join.reader: 1 + max(c for channels in join.maps.values() for c in channels) for join in graph.joins}
    places = {reader: Place(reader, "in", 0, size) for reader, size in sizes.items()}
    network = replace.replace_places(predictor, tuple(places.values()))
    products_of = {replace.key(place): Products() for place in places.values()}
    done = 0
    for batch in replace.over_images(network, source, batch_size, map_products):
        for name, sums in batch.items():
            for pixels, mean, products in zip(sums["pixels"], sums["mean"], sums["products"], strict=True):
                products_of[name].add(int(pixels), mean, products)
        done += len(sums["pixels"])
        progress(done, len(source))
    pairs = []
    for join in graph.joins:
        products, names = products_of[replace.key(places[join.reader])].products, list(join.maps)
        for a, b in itertools.combinations(names, 2):
            cka = linear_cka(products, join.maps[a], join.maps[b])
            pairs.append(Pair(join.node, join.level, a, b, len(names) - 1 - names.index(b), cka))
    return pairs


def map_products(
    module: replace.Replaceable, mode: str, variables: Any, batch: Mapping[str, jax.Array]
) -> dict[str, Any]:
    """Returns by place, for each image, `pixels` `[B]`, `mean` `[B, C]`, and `products` `[B, C, C]` of centred channels."""

    def each(x):
        x = x.astype(jnp.float32).reshape(len(x), -1, x.shape[-1])
        mean = x.mean(1)
        centred = x - mean[:, None]
        products = jnp.einsum("bnc,bnd->bcd", centred, centred, precision="highest")
        return {"pixels": jnp.full(len(x), x.shape[1]), "mean": mean, "products": products}

    return module.read(variables, batch["image"], each)
