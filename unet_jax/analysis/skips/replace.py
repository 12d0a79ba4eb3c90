"""Wraps a network so that some of its maps can be replaced by the mean of each channel.

The variables say which maps are replaced. A `Predictor` of the wrapped network is therefore evaluated like any other, and
compiled once per size of images, however many replacements are tried.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from unet_jax.analysis import wiring
from unet_jax.analysis.skips.graph import Place
from unet_jax.data.loading import eval_pipeline
from unet_jax.inference.predictor import Predictor
from unet_jax.models.network import Network

# Means by place (`key`), float32 `[channels]`.
Means = dict[str, np.ndarray]


class Replacement(NamedTuple):
    """Says which maps are replaced, and by what.

    Attributes:
      places: bool `[number of places]`, True where a map is replaced.
      by_image: bool, True to replace by the mean of each image's map, False to replace by `means`.
      means: means by place.
    """

    places: Any
    by_image: Any
    means: Means


@dataclasses.dataclass(frozen=True)
class Replaceable:
    """Wraps a network, with the methods and attributes that a `Predictor` needs.

    Its variables are `{"network": variables of the network, "replacement": Replacement}`.

    Attributes:
      network: the network.
      places: the places where a map may be replaced.
    """

    network: nn.Module
    places: tuple[Place, ...]

    @property
    def num_classes(self) -> int:
        """The number of channels of the logits."""
        return self.network.num_classes

    @property
    def activation(self) -> str:
        """The activation that turns logits into probabilities."""
        return self.network.activation

    def input_size(self, size: int) -> int:
        """Returns the network's `input_size`."""
        return self.network.input_size(size)

    def output_size(self, size: int) -> int:
        """Returns the network's `output_size`."""
        return self.network.output_size(size)

    def at_level(self, level: int, *, one_head: bool = False) -> "Replaceable":
        """Returns itself, because `network` is already the part that the level and the mode need."""
        del level, one_head
        return self

    def apply(self, variables: Any, images: jax.Array, train: bool = False) -> tuple[jax.Array, ...]:
        """Computes the network's logits with maps replaced.

        Args:
          variables: the network's variables and the `Replacement`.
          images: `[B, H, W, C]`.
          train: passed on to the network.

        Returns:
          The logits of each head, `[B, H, W, K]`.
        """
        replaced = Replacement(*variables["replacement"])

        def replace(end):
            return lambda name, x: self._swap(
                x, [k for k, p in enumerate(self.places) if p[:2] == (name, end)], replaced
            )

        with wiring.tapped(replace("in"), replace("out")):
            logits = self.network.apply(variables["network"], images, train=train)
            # With `mutable`, `apply` would return the changed variables as well.
            return cast(tuple[jax.Array, ...], logits)

    def read(self, variables: Any, images: jax.Array, on_map: Callable[[jax.Array], Any]) -> dict[str, Any]:
        """Returns `on_map` of the map at every place, by `key`; nothing is replaced.

        Args:
          variables: the network's variables and the `Replacement`.
          images: `[B, H, W, C]`.
          on_map: called with the map of each place, `[B, h, w, channels]`.
        """
        values: dict[str, Any] = {}

        def see(end):
            def note(name, x):
                for place in self.places:
                    if place[:2] == (name, end):
                        values[key(place)] = on_map(x[..., place.first : place.first + place.channels])
                return x

            return note

        with wiring.tapped(see("in"), see("out")):
            self.network.apply(variables["network"], images, train=False)
        return values

    def _swap(self, x: jax.Array, indices: Sequence[int], replaced: Replacement) -> jax.Array:
        for k in indices:
            place = self.places[k]
            part = x[..., place.first : place.first + place.channels]
            image_mean = part.mean((1, 2), keepdims=True, dtype=jnp.float32)
            mean = jnp.where(replaced.by_image, image_mean, replaced.means[key(place)].reshape(1, 1, 1, -1)).astype(
                x.dtype
            )
            part = jnp.where(replaced.places[k], mean, part)
            x = x.at[..., place.first : place.first + place.channels].set(part)
        return x


def key(place: Place) -> str:
    """Returns the name of a place, such as "x_0_2/in/2": submodule, end, first channel."""
    return f"{place.name}/{place.end}/{place.first}"


def replace_places(predictor: Predictor, places: Sequence[Place]) -> Predictor:
    """Returns a predictor whose maps can be replaced at these places, in the same mode and level; none is replaced yet."""
    network = Replaceable(predictor.network, tuple(places))
    nothing = {key(place): np.zeros(place.channels, np.float32) for place in places}
    replacement = Replacement(np.zeros(len(places), bool), np.array(False), nothing)
    variables = {"network": predictor.variables, "replacement": replacement}
    # `Replaceable` has what a predictor needs of a network.
    return dataclasses.replace(predictor, module=cast(Network, network), variables=variables, level=0)


def replacing(predictor: Predictor, places: Sequence[Place], means: Means | None = None) -> Predictor:
    """Returns a predictor with the maps at some places replaced.

    Args:
      predictor: from `replace_places`.
      places: the places to replace.
      means: means by place; None for the mean of each image's map.
    """
    chosen = np.array([place in places for place in predictor.module.places])
    nothing = predictor.variables["replacement"].means
    replacement = Replacement(chosen, np.array(means is None), nothing if means is None else means)
    return dataclasses.replace(predictor, variables=predictor.variables | {"replacement": replacement})


def set_means(predictor: Predictor, source: Any, batch_size: int) -> Means:
    """Averages each channel at every place over all pixels of all images, with nothing replaced.

    Args:
      predictor: from `replace_places`.
      source: random access to Examples.
      batch_size: batch size of a forward pass.

    Returns:
      By place, float32 `[channels]`.
    """
    sums: dict[str, Any] = {}
    pixels: dict[str, int] = {}
    for batch in over_images(predictor, source, batch_size, map_means):
        for name, place in batch.items():
            sums[name] = sums.get(name, 0) + place["mean"].astype(np.float64).T @ place["pixels"]
            pixels[name] = pixels.get(name, 0) + int(place["pixels"].sum())
    return {name: (total / pixels[name]).astype(np.float32) for name, total in sums.items()}


def map_means(module: Replaceable, mode: str, variables: Any, batch: Mapping[str, jax.Array]) -> dict[str, Any]:
    """Returns by place the `mean` `[B, channels]` and the number of `pixels` `[B]` of each image's map."""

    def each(x):
        return {"mean": x.mean((1, 2), dtype=jnp.float32), "pixels": jnp.full(len(x), x.shape[1] * x.shape[2])}

    return module.read(variables, batch["image"], each)


def over_images(predictor: Predictor, source: Any, batch_size: int, fn: Callable) -> Iterator[Any]:
    """Runs `fn(module, mode, variables, batch)` on the images of a source, padded as in an evaluation.

    Args:
      predictor: the trained network.
      source: random access to Examples.
      batch_size: batch size, rounded up to a multiple of the devices.
      fn: the function of a batch.

    Yields:
      NumPy outputs `[B, ...]` of each batch, without the rows that only fill it up.
    """
    batches = eval_pipeline.eval_batches(
        source,
        batch_size=-(-batch_size // predictor.num_devices) * predictor.num_devices,
        normalize=predictor.normalize,
        value_range=predictor.value_range,
        pad_multiple=predictor.pad_multiple,
        input_size=predictor.network.input_size,
        margin=predictor.margin,
        multiple=predictor.num_devices,
    )
    for batch in batches:
        real = batch["index"] >= 0
        yield jax.tree.map(lambda x, real=real: x[real], predictor.run(fn, {"image": batch["image"]}))
