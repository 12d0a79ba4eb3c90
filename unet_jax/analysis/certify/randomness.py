"""What is random: how weights start and what dropout drops, measured on samples."""

from collections.abc import Iterator

import jax
import numpy as np
from flax import linen as nn

from unet_jax import models
from unet_jax.analysis.certify.check import Check, random_images, random_variables
from unet_jax.analysis.quick import quick_jit

HE, RELEASE = "Ronneberger et al. 2015, section 3: std sqrt(2 / N)", "phseg_v5: Xavier, uniform within sqrt(3 / N)"
KERAS = "Zhou et al.'s code: He normal; Glorot uniform for U"
MANY = 8000  # weights of a kernel from which its standard deviation is told to 3 %
STANDARD_ERRORS = 4

# (label, model, knobs, the largest weight in standard deviations, source)
STARTS = (
    ("U-Net paper", "unet", {"variant": "paper"}, "Gaussian", HE),
    ("U-Net release", "unet", {"variant": "release"}, np.sqrt(3), RELEASE),
    ("U-Net++", "unet_pp", {"variant": "paper"}, 2 / 0.8796, KERAS),  # cut off at 2, then scaled to its std
)

# (label, model, knobs, the nodes of three levels after whose ReLUs it stands, source)
ENDS = ["enc_1", "enc_2"]  # the two deepest, once after each
NODES = sorted(2 * [f"x_{i}_{j}" for i in range(3) for j in range(3 - i)])  # after both ReLUs of each
DROPOUTS = (
    ("U-Net release", "unet", {"variant": "release"}, ENDS, "phseg_v5"),
    (
        "U-Net paper",
        "unet",
        {"variant": "paper", "dropout": 0.5},
        ENDS,
        "the paper tells where, not the share: 0.5 asked",
    ),
    ("U-Net++", "unet_pp", {"variant": "paper"}, NODES, "Zhou et al.'s code"),
)


def initial_weights() -> Iterator[Check]:
    """Standard deviation of each large kernel over that of its source, and the largest weight in standard deviations."""
    for label, name, knobs, largest, source in STARTS:
        module = models.build(name, num_classes=2, widths=(32, 64, 128), **knobs)
        size = module.input_size(4)
        variables = quick_jit(module.init)(jax.random.key(0), random_images(size, 1))
        ratios, heights, biases = [], [], []
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"]):
            if path[-1].key == "bias":
                biases.append(float(np.abs(leaf).max()))
            elif leaf.size >= MANY:
                up = path[0].key.startswith("up")
                fan_in, fan_out = np.prod(leaf.shape[:-1]), np.prod(leaf.shape[:2]) * leaf.shape[-1]
                if name == "unet_pp" and up:
                    scale = np.sqrt(2 / (fan_in + fan_out))
                elif name == "unet" and up and knobs["variant"] == "paper":
                    scale = np.sqrt(2 / leaf.shape[-2])  # an output of U is computed from one pixel below
                else:
                    scale = (1 if knobs["variant"] == "release" else np.sqrt(2)) / np.sqrt(fan_in)
                ratios.append(float(leaf.std() / scale))
                if not up:
                    heights.append(float(np.abs(leaf).max() / leaf.std()))
        fits = max(abs(ratio - 1) for ratio in ratios) < 0.03
        found = f"{min(ratios):.3f} to {max(ratios):.3f} of it, {len(ratios)} kernels"
        yield Check(
            label, "std of the initial kernels, biases 0", "1 within 3 %", found, bool(fits and not any(biases)), source
        )
        height = max(heights)
        if largest == "Gaussian":
            yield Check(
                label,
                "their largest weight, in std",
                "above 3.5: not cut off",
                f"{height:.2f}",
                bool(height > 3.5),
                source,
            )
        else:
            fits = 0.98 * largest < height < 1.02 * largest
            yield Check(label, "their largest weight, in std", f"{largest:.2f}", f"{height:.2f}", bool(fits), source)


def dropout() -> Iterator[Check]:
    """Where activations are dropped in training, which share of them, and by what the rest is scaled."""
    for label, name, knobs, places, source in DROPOUTS:
        module = models.build(name, num_classes=2, widths=(4, 8, 16), **knobs)
        size = module.input_size(24)
        variables, image = random_variables(module, 1, size), random_images(size, 1)
        seen = _dropouts(module, variables, image, train=True)
        found = sorted(name for name, _, _ in seen)
        claim = "dropout stands after"
        yield Check(label, claim, _listed(places), _listed(found), found == places, source)
        alive = np.concatenate([before[before > 0] for _, before, _ in seen])
        after = np.concatenate([after[before > 0] for _, before, after in seen])
        share, kept = float((after == 0).mean()), after[after > 0] / alive[after > 0]
        error = STANDARD_ERRORS * 0.5 / np.sqrt(len(alive))
        fits = abs(share - 0.5) < error and np.allclose(kept, 2, rtol=1e-5)
        found = f"{share:.4f}, x {kept.min():.3f} to {kept.max():.3f} ({len(alive):,} values)"
        yield Check(label, "share dropped; the rest is scaled", f"0.5 +- {error:.4f}, x 2", found, bool(fits), source)
        seen = _dropouts(module, variables, image, train=False)
        off = all(np.array_equal(before, after) for _, before, after in seen)
        yield Check(label, "dropout in evaluation", "none", "none" if off else "some", off, source)


def _dropouts(module, variables, image, train: bool) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Of each place where dropout may act: the node, what goes in, and what comes out."""

    @quick_jit
    def run(variables, image):
        maps = []

        def watch(next_function, args, kwargs, context):
            output = next_function(*args, **kwargs)
            if isinstance(context.module, nn.Dropout) and context.module.rate:
                names.append(context.module.path[0])
                maps.append((args[0], output))
            return output

        with nn.intercept_methods(watch):
            module.apply(variables, image, train=train, rngs={"dropout": jax.random.key(0)})
        return maps

    names: list[str] = []
    maps = run(variables, image)
    return [(name, np.asarray(before), np.asarray(after)) for name, (before, after) in zip(names, maps, strict=True)]


def _listed(places: list[str]) -> str:
    return ", ".join(places) if len(places) < 5 else f"{len(places)}: {places[0]} .. {places[-1]}"


def checks() -> Iterator[Check]:
    yield from initial_weights()
    yield from dropout()
