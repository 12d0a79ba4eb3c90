"""What is random: how weights start and what dropout drops, measured on samples."""

from collections.abc import Iterator

import jax
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict

from unet_jax import models
from unet_jax.analysis.certify.check import Check, random_images, random_variables
from unet_jax.runtime.unoptimized_jit import jit_without_optimization

MANY = 8000  # weights of a kernel from which its standard deviation is told to 3 %; with so many channels, all kernels
CHANNELS, CLASSES = 32, 256
STANDARD_ERRORS = 4


def gaussian(node: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """std sqrt(2 / N), N what an output is computed from; one of U from one pixel below."""
    return np.sqrt(2 / (shape[-2] if node.startswith("up") else np.prod(shape[:-1]))), np.inf


def xavier(node: str, shape: tuple[int, ...]) -> tuple[float, float]:
    return np.sqrt(1 / np.prod(shape[:-1])), np.sqrt(3)


def keras(node: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """He normal, cut off at 2, then scaled to its std; Glorot uniform for U."""
    fan_in, fan_out = np.prod(shape[:-1]), np.prod(shape[:-2]) * shape[-1]
    return (np.sqrt(2 / (fan_in + fan_out)), np.sqrt(3)) if node.startswith("up") else (np.sqrt(2 / fan_in), 2 / 0.8796)


def he_uniform(node: str, shape: tuple[int, ...]) -> tuple[float, float]:
    return np.sqrt(2 / np.prod(shape[:-1])), np.sqrt(3)


WIDE = {"widths": (32, 64, 128)}
# (label, model, options, (node, shape of its kernel) -> its std and its largest weight in std, source)
STARTS = (
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

LEVELS, ENDS = {"widths": (4, 8, 16)}, ["enc_1", "enc_2"]  # the two deepest, once after each
NODES = sorted(2 * [f"x_{i}_{j}" for i in range(3) for j in range(3 - i)])  # after both ReLUs of each
VGG, DENSE = {"widths": (2, 2, 2, 2, 2, 128)}, {"stem_features": 4, "growth_rate": 3, "layers_per_block": (2, 2, 2)}
LAYERS = [*(f"{block}_{k}" for block in ("bottleneck", "down_0", "up_0") for k in range(2)), "transition_down_0"]
ASKED = "the paper tells where, not the share: 0.5 asked"
OF = {"ReLU": lambda made: np.maximum(made, 0), "convolution": lambda made: made}
# (label, model, options, size, share, the nodes, sorted, and what `OF` them it drops, source)
DROPOUTS = (
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
    """Standard deviation of each kernel over that of its source, and the largest weight in standard deviations."""
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
        found = f"{min(ratios):.3f} to {max(ratios):.3f} of it, {len(ratios)} kernels"
        yield Check(
            label, "std of the initial kernels, biases 0", "1 within 3 %", found, bool(fits and not any(biases)), source
        )
        claim = "their largest weight, in std"
        if rule is gaussian:
            height = max(height for height, _ in heights)
            yield Check(label, claim, "above 3.5: not cut off", f"{height:.2f}", bool(height > 3.5), source)
        else:
            fits = all(0.98 * largest < height < 1.02 * largest for height, largest in heights)
            kinds = [[f"{height:.2f}" for height, largest in heights if largest == kind] for kind in _kinds(heights)]
            found = ", ".join(f"{min(own)} to {max(own)}" for own in kinds)
            expected = ", ".join(f"{kind:.2f}" for kind in _kinds(heights))
            yield Check(label, claim, f"{expected} within 2 %", found, bool(fits), source)


def scores() -> Iterator[Check]:
    """FCN's scores, and no other kernel, start at zero."""
    start = _start(models.build("fcn", num_classes=2, widths=(2,) * 6))
    found = sorted(path[0] for path, leaf in start if path[-1] == "kernel" and not leaf.any())
    biased = any(leaf.any() for path, leaf in start if path[-1] == "bias")
    expected = ["score_fr", "score_pool3", "score_pool4"]
    source = "Long et al. 2015, section 4.3: zero-initialised"
    claim = "kernels that start at 0; all biases 0"
    yield Check("FCN-8s", claim, _listed(expected), _listed(found), found == expected and not biased, source)


def _start(module: nn.Module) -> list[tuple[tuple[str, ...], np.ndarray]]:
    """The network's initial parameters, each with its path."""
    image = random_images(module.input_size(4), CHANNELS)
    params = jit_without_optimization(lambda key: module.init(key, image)["params"])(jax.random.key(0))
    return [(path, np.asarray(leaf)) for path, leaf in flatten_dict(params).items()]


def _kinds(heights) -> list[float]:
    return sorted({largest for _, largest in heights})


def dropout() -> Iterator[Check]:
    """Where activations are dropped in training, which share of them, and by what the rest is scaled."""
    for label, name, options, size, rate, places, what, source in DROPOUTS:
        module = models.build(name, num_classes=2, **options)
        size = module.input_size(size)
        variables, image = random_variables(module, 1, size), random_images(size, 1)
        seen = _dropouts(module, variables, image, train=True)
        found = sorted(name for name, made, before, _ in seen if np.array_equal(before, OF[what](made)))
        claim = f"dropout stands behind the {what} of"
        yield Check(label, claim, _listed(places), _listed(found), found == places and len(seen) == len(found), source)
        if not seen:
            continue
        alive = np.concatenate([before[before != 0] for _, _, before, _ in seen])
        after = np.concatenate([after[before != 0] for _, _, before, after in seen])
        share, kept = float((after == 0).mean()), after[after != 0] / alive[after != 0]
        error = STANDARD_ERRORS * np.sqrt(rate * (1 - rate) / len(alive))
        scale = 1 / (1 - rate)
        fits = abs(share - rate) < error and np.allclose(kept, scale, rtol=1e-5)
        expected = f"{rate} +- {error:.4f}, x {scale:g}"
        found = f"{share:.4f}, x {kept.min():.3f} to {kept.max():.3f} ({len(alive):,} values)"
        yield Check(label, "share dropped; the rest is scaled", expected, found, bool(fits), source)
        seen = _dropouts(module, variables, image, train=False)
        off = all(np.array_equal(before, after) for _, _, before, after in seen)
        yield Check(label, "dropout in evaluation", "none", "none" if off else "some", off, source)


def _dropouts(module, variables, image, train: bool) -> list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Of each place where dropout may act: the node before it, what that made, what goes in, and what comes out."""

    @jit_without_optimization
    def run(variables, image):
        maps, made = [], []

        def watch(next_function, args, kwargs, context):
            output = next_function(*args, **kwargs)
            if not isinstance(context.module, nn.Dropout):
                made.append((context.module.path[:1], output))
            elif context.module.rate:
                (name,), last = made[-1]
                names.append(name)
                maps.append((last, args[0], output))
            return output

        with nn.intercept_methods(watch):
            rngs = {"dropout": jax.random.key(0)}
            module.apply(variables, image, train=train, rngs=rngs, mutable=["batch_stats"])
        return maps

    names: list[str] = []
    maps = run(variables, image)
    return [(name, *map(np.asarray, arrays)) for name, arrays in zip(names, maps, strict=True)]


def _listed(places: list[str]) -> str:
    return ", ".join(places) or "none" if len(places) < 5 else f"{len(places)}: {places[0]} .. {places[-1]}"


def checks() -> Iterator[Check]:
    yield from initial_weights()
    yield from scores()
    yield from dropout()
