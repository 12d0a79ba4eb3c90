"""Compares the maps that a node concatenates: linear CKA (Kornblith, Norouzi, Lee, Hinton: "Similarity of Neural
Network Representations Revisited", ICML 2019, section 3).

With X [n, p] and Y [n, q] two maps' channels at the same n pixels, each channel less its mean:

    CKA(X, Y) = ||Y^T X||_F^2 / (||X^T X||_F ||Y^T Y||_F)

It is 1 for maps that are equal up to a rotation of their channels and one scale, and at least 0. It needs no more of the
pixels than the products of channels, so it is taken over all pixels of all images and nothing is sampled. Many pixels leave
little of the bias that CKA has where n is not far above p.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from unet_jax.analysis.skips import replace
from unet_jax.analysis.skips.graph import Graph, Place
from unet_jax.inference.predictor import Predictor


class Pair(NamedTuple):
    """The CKA of two maps, `a` and `b`, that a node of the level concatenates; `distance` is how many skips lie before `b`.

    Of the maps [U, x^{i,0}, ..., x^{i,j-1}], U is "U", and the last skip, the nearest to the node, has distance 0.
    """

    node: str
    level: int
    a: str
    b: str
    distance: int
    cka: float


@dataclasses.dataclass
class Products:
    """Means [C] and products of centred channels [C, C] over `pixels` pixels, in float64; a batch's are added to it."""

    pixels: int = 0
    mean: Any = 0.0
    products: Any = 0.0

    def add(self, pixels: int, mean: np.ndarray, products: np.ndarray) -> None:
        """Adds pixels with their own mean and products about it (Chan, Golub, LeVeque 1983): nothing large cancels."""
        total = self.pixels + pixels
        step = mean.astype(np.float64) - self.mean
        self.products = self.products + products.astype(np.float64)
        self.products = self.products + np.outer(step, step) * (self.pixels * pixels / total)
        self.mean = self.mean + step * (pixels / total)
        self.pixels = total


def linear_cka(products: np.ndarray, a: list[int], b: list[int]) -> float:
    """Computes CKA of the channels `a` and `b` from the products of all centred channels `[C, C]`; NaN where one is constant."""
    between, within_a, within_b = (products[np.ix_(x, y)] for x, y in ((a, b), (a, a), (b, b)))
    norms = np.linalg.norm(within_a) * np.linalg.norm(within_b)
    return float(np.linalg.norm(between) ** 2 / norms) if norms > 0 else float("nan")


def compare_maps(
    predictor: Predictor,
    graph: Graph,
    source,
    *,
    batch_size: int,
    progress: Callable[[int, int], None] = lambda done, number: None,
) -> list[Pair]:
    """Compares every pair of maps at every node of `graph` that concatenates some, over all pixels that the network sees.

    Those are the images' pixels and, where they were padded, their mirrored ones, at the size of the maps.

    Args:
      predictor: of the trained network.
      graph: of `predictor.network`.
      source: random access to Examples.
      batch_size: of a forward pass.
      progress: called with how many images are done, of how many.
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


def map_products(module: replace.Replaceable, mode: str, variables, batch) -> dict:
    """Returns of each image and place its `pixels` `[B]`, `mean` `[B, C]` and `products` `[B, C, C]` of centred channels."""

    def each(x):
        x = x.astype(jnp.float32).reshape(len(x), -1, x.shape[-1])
        mean = x.mean(1)
        centred = x - mean[:, None]
        products = jnp.einsum("bnc,bnd->bcd", centred, centred, precision="highest")
        return {"pixels": jnp.full(len(x), x.shape[1]), "mean": mean, "products": products}

    return module.read(variables, batch["image"], each)
