"""Checks the random parts on samples: the initial weights, and the activations that dropout sets to 0."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict

from unet_jax import models
from unet_jax.analysis.certify.check import Check, random_images, random_variables
from unet_jax.runtime.unoptimized_jit import jit_without_optimization

# From this number of weights on, a kernel's standard deviation is known to 3 %. With the channels below, every kernel has
# as many.
MANY = 8000
CHANNELS, CLASSES = 32, 256
# How far the fraction dropped may lie from its rate.
STANDARD_ERRORS = 4


def gaussian(node: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Returns the standard deviation sqrt(2 / N) of a kernel, and no limit of its weights.

    N is the number of inputs of one output; an output of U has one pixel's channels.

    Args:
      node: name of the node.
      shape: shape of its kernel, `[h, w, in, out]`.
    """
    return np.sqrt(2 / (shape[-2] if node.startswith("up") else np.prod(shape[:-1]))), np.inf


def xavier(node: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Returns the standard deviation sqrt(1 / N) of a uniform kernel, and its largest weight in standard deviations."""
    return np.sqrt(1 / np.prod(shape[:-1])), np.sqrt(3)


def keras(node: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Returns standard deviation and largest weight of Keras's initialisers: He normal, and Glorot uniform for U.

    He normal is truncated at 2 standard deviations, and then scaled to the standard deviation that it had before.
    """
    fan_in, fan_out = np.prod(shape[:-1]), np.prod(shape[:-2]) * shape[-1]
    return (np.sqrt(2 / (fan_in + fan_out)), np.sqrt(3)) if node.startswith("up") else (np.sqrt(2 / fan_in), 2 / 0.8796)


def he_uniform(node: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Returns the standard deviation sqrt(2 / N) of a uniform kernel, and its largest weight in standard deviations."""
    return np.sqrt(2 / np.prod(shape[:-1])), np.sqrt(3)


WIDE = {"widths": (32, 64, 128)}
Start = Callable[[str, tuple[int, ...]], tuple[float, float]]
# (label, model, options, (node, shape of its kernel) -> its std and its largest weight in std, source)
STARTS: tuple[tuple[str, str, dict[str, Any], Start, str], ...] = (
    ("U-Net paper", "unet", {"variant": "paper", **WIDE}, gaussian, "Ronneberger et al. 2015, section 3"),
    ("U-Net release", "unet", {"variant": "release", **WIDE}, xavier, "phseg_v5: uniform within sqrt(3 / N)"),
    ("U-Net++", "unet_pp", {"variant": "paper", **WIDE}, keras, "Zhou et al.'s code: He normal; Glorot uniform for U"),
    (
        "FC-DenseNet",
        "fc_densenet",
        {"stem_features": 48, "growth_rate": 32, "layers_per_block": (2, 2, 2)},
        he_uniform,
        "Jegou et al. 2017, section 4.1: HeUniform",
    ),
)

LEVELS = {"widths": (4, 8, 16)}
# U-Net: once after each of the two deepest encoder nodes.
ENDS = ["enc_1", "enc_2"]
# U-Net++: after both ReLUs of each node.
NODES = sorted(2 * [f"x_{i}_{j}" for i in range(3) for j in range(3 - i)])
VGG, DENSE = {"widths": (2, 2, 2, 2, 2, 128)}, {"stem_features": 4, "growth_rate": 3, "layers_per_block": (2, 2, 2)}
LAYERS = [*(f"{block}_{k}" for block in ("bottleneck", "down_0", "up_0") for k in range(2)), "transition_down_0"]
ASKED = "the paper says where, but gives no rate; 0.5 chosen"
# What dropout reads, by name, from the output of the layer before it.
INPUTS = {"ReLU": lambda output: np.maximum(output, 0), "convolution": lambda output: output}
# (label, model, options, size, rate, the nodes (sorted), name in `INPUTS` of what is dropped, source)
DROPOUTS: tuple[tuple[str, str, dict[str, Any], int, float, list[str], str, str], ...] = (
    ("U-Net release", "unet", {"variant": "release", **LEVELS}, 24, 0.5, ENDS, "ReLU", "phseg_v5"),
    ("U-Net paper", "unet", {"variant": "paper", "dropout": 0.5, **LEVELS}, 24, 0.5, ENDS, "ReLU", ASKED),
    ("U-Net++", "unet_pp", {"variant": "paper", **LEVELS}, 24, 0.5, NODES, "ReLU", "Zhou et al.'s code"),
    ("FCN-8s", "fcn", VGG, 128, 0.5, ["fc_6", "fc_7"], "ReLU", "Long et al.'s code, drop6 and drop7"),
    (
        "FC-DenseNet",
        "fc_densenet",
        DENSE,
        24,
        0.2,
        sorted(LAYERS),
        "convolution",
        "Jegou et al. 2017, table 1",
    ),
)


def initial_weights() -> Iterator[Check]:
    """Yields checks of each kernel's standard deviation, and of its largest weight in standard deviations."""
    for label, name, options, rule, source in STARTS:
        ratios, heights, biases = [], [], []
        for path, leaf in _start(models.build(name, num_classes=CLASSES, **options)):
            if path[-1] == "bias":
                biases.append(float(np.abs(leaf).max()))
            elif path[-1] == "kernel":
                std, largest = rule(path[0], leaf.shape)
                ratios.append(float(leaf.std() / std) if leaf.size >= MANY else np.nan)
                heights.append((float(np.abs(leaf).max() / leaf.std()), largest))
        fits = max(abs(ratio - 1) for ratio in ratios) < 0.03 and not np.isnan(ratios).any()
        claim = "std of the initial kernels, biases 0"
        measured = f"{min(ratios):.3f} to {max(ratios):.3f} of the source's, {len(ratios)} kernels"
        yield Check(label, claim, "1 within 3 %", measured, bool(fits and not any(biases)), source)
        claim = "their largest weight, in std"
        if rule is gaussian:
            height = max(height for height, _ in heights)
            yield Check(label, claim, "above 3.5: not truncated", f"{height:.2f}", bool(height > 3.5), source)
        else:
            fits = all(0.98 * largest < height < 1.02 * largest for height, largest in heights)
            kinds = [[f"{height:.2f}" for height, largest in heights if largest == kind] for kind in _kinds(heights)]
            measured = ", ".join(f"{min(values)} to {max(values)}" for values in kinds)
            expected = ", ".join(f"{kind:.2f}" for kind in _kinds(heights))
            yield Check(label, claim, f"{expected} within 2 %", measured, bool(fits), source)


def scores() -> Iterator[Check]:
    """Yields the check that FCN's score kernels, and no others, start at zero."""
    start = _start(models.build("fcn", num_classes=2, widths=(2,) * 6))
    zeros = sorted(path[0] for path, leaf in start if path[-1] == "kernel" and not leaf.any())
    biased = any(leaf.any() for path, leaf in start if path[-1] == "bias")
    expected = ["score_fr", "score_pool3", "score_pool4"]
    source = "Long et al. 2015, section 4.3: zero-initialised"
    claim = "kernels that start at 0; all biases 0"
    yield Check("FCN-8s", claim, _listed(expected), _listed(zeros), zeros == expected and not biased, source)


def _start(module: nn.Module) -> list[tuple[tuple[str, ...], np.ndarray]]:
    """Returns the network's initial parameters, each with its path."""
    image = random_images(module.input_size(4), CHANNELS)
    params = jit_without_optimization(lambda key: module.init(key, image)["params"])(jax.random.key(0))
    return [(path, np.asarray(leaf)) for path, leaf in flatten_dict(params).items()]


def _kinds(heights) -> list[float]:
    return sorted({largest for _, largest in heights})


def dropout() -> Iterator[Check]:
    """Yields checks of where dropout acts in training, the fraction it drops, and how it scales the rest."""
    for label, name, options, size, rate, places, kind, source in DROPOUTS:
        module = models.build(name, num_classes=2, **options)
        size = module.input_size(size)
        variables, image = random_variables(module, 1, size), random_images(size, 1)
        seen = _dropouts(module, variables, image, train=True)
        nodes = sorted(node for node, output, before, _ in seen if np.array_equal(before, INPUTS[kind](output)))
        claim = f"dropout stands behind the {kind} of"
        yield Check(label, claim, _listed(places), _listed(nodes), nodes == places and len(seen) == len(nodes), source)
        if not seen:
            continue
        alive = np.concatenate([before[before != 0] for _, _, before, _ in seen])
        after = np.concatenate([after[before != 0] for _, _, before, after in seen])
        fraction, scaled = float((after == 0).mean()), after[after != 0] / alive[after != 0]
        error = STANDARD_ERRORS * np.sqrt(rate * (1 - rate) / len(alive))
        scale = 1 / (1 - rate)
        fits = abs(fraction - rate) < error and np.allclose(scaled, scale, rtol=1e-5)
        expected = f"{rate} +- {error:.4f}, x {scale:g}"
        measured = f"{fraction:.4f}, x {scaled.min():.3f} to {scaled.max():.3f} ({len(alive):,} values)"
        yield Check(label, "fraction dropped; the rest is scaled", expected, measured, bool(fits), source)
        seen = _dropouts(module, variables, image, train=False)
        off = all(np.array_equal(before, after) for _, _, before, after in seen)
        yield Check(label, "dropout in evaluation", "none", "none" if off else "some", off, source)


def _dropouts(module, variables, image, train: bool) -> list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Returns for each active dropout layer the node before it, that node's output, and the layer's input and output."""

    @jit_without_optimization
    def run(variables, image):
        maps, outputs = [], []

        def watch(next_function, args, kwargs, context):
            output = next_function(*args, **kwargs)
            if not isinstance(context.module, nn.Dropout):
                outputs.append((context.module.path[:1], output))
            elif context.module.rate:
                (name,), last = outputs[-1]
                names.append(name)
                maps.append((last, args[0], output))
            return output

        with nn.intercept_methods(watch):
            rngs = {"dropout": jax.random.key(0)}
            module.apply(variables, image, train=train, rngs=rngs, mutable=["batch_stats"])
        return maps

    names: list[str] = []
    maps = run(variables, image)
    return [
        (name, np.asarray(output), np.asarray(before), np.asarray(after))
        for name, (output, before, after) in zip(names, maps, strict=True)
    ]


def _listed(places: list[str]) -> str:
    if len(places) < 5:
        return ", ".join(places) or "none"
    return f"{len(places)}: {places[0]} .. {places[-1]}"


def checks() -> Iterator[Check]:
    """Yields every check of initial weights and dropout."""
    yield from initial_weights()
    yield from scores()
    yield from dropout()
