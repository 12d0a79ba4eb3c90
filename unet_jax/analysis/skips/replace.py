"""A network some of whose maps can be replaced by their mean of each channel, which ones being data of one program.

What it replaces stands in its variables, so a `Predictor` of it is evaluated like any other, and compiled once per size of
images however many replacements are tried.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from unet_jax.analysis import wiring
from unet_jax.analysis.skips.graph import Place
from unet_jax.data.loading import eval_pipeline
from unet_jax.inference.predictor import Predictor

# The means of the places, by `key`.
Means = dict[str, np.ndarray]


class Replacement(NamedTuple):
    """What is replaced: `places` bool [number of places]; by the mean of each image's map, or by `means`."""

    places: Any
    by_image: Any
    means: Means


@dataclasses.dataclass(frozen=True)
class Replaceable:
    """A network with the `places` where a map may be replaced, in what a `Predictor` asks of a network.

    Its variables are `{"network": those of the network, "replacement": a Replacement}`.
    """

    network: nn.Module
    places: tuple[Place, ...]

    @property
    def num_classes(self) -> int:
        return self.network.num_classes

    @property
    def activation(self) -> str:
        return self.network.activation

    def input_size(self, size: int) -> int:
        return self.network.input_size(size)

    def output_size(self, size: int) -> int:
        return self.network.output_size(size)

    def at_level(self, level: int, *, one_head: bool = False) -> "Replaceable":
        """Returns itself: `network` is already the part that the level and the mode need."""
        del level, one_head
        return self

    def apply(self, variables: Any, images: jax.Array, train: bool = False) -> tuple[jax.Array, ...]:
        """The network's logits, with the maps of `replacement.places` replaced."""
        replaced = Replacement(*variables["replacement"])

        def replace(end):
            return lambda name, x: self._swap(
                x, [k for k, p in enumerate(self.places) if p[:2] == (name, end)], replaced
            )

        with wiring.tapped(replace("in"), replace("out")):
            return self.network.apply(variables["network"], images, train=train)

    def read(self, variables: Any, images: jax.Array, on_map: Callable[[jax.Array], Any]) -> dict[str, Any]:
        """`on_map` of the map at every place, nothing replaced; by `key`."""
        values = {}

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
    """Returns the place as a word."""
    return f"{place.name}/{place.end}/{place.first}"


def replace_places(predictor: Predictor, places: Sequence[Place]) -> Predictor:
    """Makes the predictor's network, in its mode and at its level, replaceable at these places; nothing is replaced yet."""
    network = Replaceable(predictor.network, tuple(places))
    nothing = {key(place): np.zeros(place.channels, np.float32) for place in places}
    replacement = Replacement(np.zeros(len(places), bool), np.array(False), nothing)
    variables = {"network": predictor.variables, "replacement": replacement}
    return dataclasses.replace(predictor, module=network, variables=variables, level=0)


def replacing(predictor: Predictor, places: Sequence[Place], means: Means | None = None) -> Predictor:
    """Replaces these places of a predictor from `replace_places`: by `means`, or, without, by the mean of each image's map."""
    chosen = np.array([place in places for place in predictor.module.places])
    nothing = predictor.variables["replacement"].means
    replacement = Replacement(chosen, np.array(means is None), nothing if means is None else means)
    return dataclasses.replace(predictor, variables=predictor.variables | {"replacement": replacement})


def set_means(predictor: Predictor, source, batch_size: int) -> Means:
    """Averages each channel at every place over all pixels of all images, nothing replaced; float32 `[channels]`."""
    sums: dict[str, Any] = {}
    pixels: dict[str, int] = {}
    for batch in over_images(predictor, source, batch_size, map_means):
        for name, place in batch.items():
            sums[name] = sums.get(name, 0) + place["mean"].astype(np.float64).T @ place["pixels"]
            pixels[name] = pixels.get(name, 0) + int(place["pixels"].sum())
    return {name: (total / pixels[name]).astype(np.float32) for name, total in sums.items()}


def map_means(module: Replaceable, mode: str, variables, batch) -> dict:
    """Returns of each image and place the `mean` `[B, channels]` and the number of `pixels` `[B]` of the map."""

    def each(x):
        return {"mean": x.mean((1, 2), dtype=jnp.float32), "pixels": jnp.full(len(x), x.shape[1] * x.shape[2])}

    return module.read(variables, batch["image"], each)


def over_images(predictor: Predictor, source, batch_size: int, fn: Callable) -> Iterator[Any]:
    """Runs `fn(module, mode, variables, batch)` on the images of a source, padded as an evaluation pads them.

    Yields:
      Batch by batch, NumPy outputs `[B, ...]` of the images alone, without the rows that fill a batch up.
    """
    batches = eval_pipeline.eval_batches(
        source,
        batch_size=-(-batch_size // predictor.num_devices) * predictor.num_devices,
        normalize=predictor.normalize,
        pad_multiple=predictor.pad_multiple,
        input_size=predictor.network.input_size,
        margin=predictor.margin,
        multiple=predictor.num_devices,
    )
    for batch in batches:
        real = batch["index"] >= 0
        yield jax.tree.map(lambda x, real=real: x[real], predictor.run(fn, {"image": batch["image"]}))
