"""Compares the networks with PyTorch ones of the same weights, in float64: logits, every gradient, ten steps of Adam.

The PyTorch side is written from the definitions, as `analysis/reference` is. It uses nothing of `unet_jax.models`.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unet_jax import models
from unet_jax.analysis.certify.check import Check, random_images, random_variables
from unet_jax.errors import UserError

TOLERANCE, STEPS, LEARNING_RATE, IMAGES = 1e-6, 10, 1e-3, 2
SOURCE = "PyTorch, same weights, float64"
WIDTHS = (4, 6, 8)

# (label, model, options, True for the statistics of the batch, smallest size of the logits)
CASES: tuple[tuple[str, str, dict[str, Any], bool, int], ...] = (
    ("U-Net paper", "unet", {"variant": "paper"}, False, 12),
    ("U-Net release", "unet", {"variant": "release"}, False, 12),
    ("U-Net BatchNorm", "unet", {"norm": "batch"}, True, 16),
    ("U-Net++ paper", "unet_pp", {"variant": "paper", "deep_supervision": True}, False, 16),
    ("U-Net++ BatchNorm", "unet_pp", {"norm": "batch", "deep_supervision": True}, True, 16),
)


class TorchGrid:
    """Computes U-Net and U-Net++ with PyTorch, on tensors `[B, C, H, W]`.

    Args:
      torch: the module PyTorch, which is imported only when it is asked for.
      weights: nested dicts of tensors under the papers' names.
      depth: the number of poolings.
      padding: "same" or "valid".
      norm: "none" or "batch".
      release: True for the released U-Net, which has a ReLU after each up-sampling.
    """

    def __init__(
        self, torch: ModuleType, weights: Mapping[str, Any], depth: int, padding: str, norm: str, release: bool
    ):
        self.f, self.cat = torch.nn.functional, torch.cat
        self.weights, self.depth, self.padding, self.norm, self.release = weights, depth, padding, norm, release

    def h(self, name: str, sources: Sequence[Any]) -> Any:
        """Returns H of the concatenated sources: twice 3x3 convolution, normalisation, ReLU."""
        x = self.cat(sources, 1)
        for k in (0, 1):
            weights = self.weights[name][f"conv_{k}"]
            x = self.f.conv2d(x, weights["kernel"].permute(3, 2, 0, 1), weights.get("bias"), padding=self.padding)
            if self.norm == "batch":
                scale = self.weights[name][f"norm_{k}"]
                x = self.f.batch_norm(x, None, None, scale["scale"], scale["bias"], training=True, eps=1e-5)
            x = self.f.relu(x)
        return x

    def d(self, x: Any) -> Any:
        """Returns D, the largest of each 2x2 pixels."""
        return self.f.max_pool2d(x, 2)

    def u(self, name: str, x: Any) -> Any:
        """Returns U, the map at twice its size."""
        weights = self.weights[name]
        x = self.f.conv_transpose2d(x, weights["kernel"].permute(2, 3, 0, 1), weights["bias"], stride=2)
        return self.f.relu(x) if self.release else x

    def head(self, name: str, x: Any) -> Any:
        """Returns the logits of a 1x1 convolution."""
        return self.f.conv2d(x, self.weights[name]["kernel"].permute(3, 2, 0, 1), self.weights[name]["bias"])

    def crop(self, x: Any, like: Any) -> Any:
        """Returns the middle of `x`, as high and wide as `like`."""
        top, left = ((x.shape[axis] - like.shape[axis]) // 2 for axis in (2, 3))
        return x[:, :, top : top + like.shape[2], left : left + like.shape[3]]

    def unet(self, x: Any) -> list[Any]:
        """Returns the logits of U-Net's head (Ronneberger et al. 2015, figure 1)."""
        skips = []
        for i in range(self.depth + 1):
            x = self.h(f"enc_{i}", [self.d(x) if i else x])
            skips.append(x)
        for i in reversed(range(self.depth)):
            up = self.u(f"up_{i}", x)
            x = self.h(f"dec_{i}", [up, self.crop(skips[i], up)])
        return [self.head("head", x)]

    def unet_pp(self, image: Any) -> list[Any]:
        """Returns the logits of U-Net++'s heads (Zhou et al. 2018, equation 1)."""
        x = {(0, 0): self.h("x_0_0", [image])}
        for i in range(1, self.depth + 1):
            x[i, 0] = self.h(f"x_{i}_0", [self.d(x[i - 1, 0])])
        for j in range(1, self.depth + 1):
            for i in range(self.depth + 1 - j):
                x[i, j] = self.h(f"x_{i}_{j}", [self.u(f"up_{i}_{j}", x[i + 1, j - 1]), *(x[i, k] for k in range(j))])
        return [self.head(f"head_{j}", x[0, j]) for j in range(1, self.depth + 1)]


def checks() -> Iterator[Check]:
    """Yields three checks for each case: logits, gradients, weights after training. Needs `jax_enable_x64`.

    Raises:
      UserError: PyTorch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise UserError(f"--against=torch: PyTorch is not installed ({error}); install the extra torch") from error
    for label, name, options, train, size in CASES:
        module = models.build(name, num_classes=3, widths=WIDTHS, dtype="float64", **options)
        size = module.input_size(size)
        params = jax.tree.map(np.float64, random_variables(module, 2, size)["params"])
        images = np.float64(random_images(size, 2, number=IMAGES))
        ids = np.random.default_rng(2).integers(0, 3, (IMAGES, *2 * (module.output_size(size),)))
        ours = _ours(module, params, images, ids, train)
        theirs = _theirs(torch, name, module, params, images, ids)
        claims = ("logits", "gradients", f"weights after {STEPS} steps of Adam")
        for claim, a, b in zip(claims, ours, theirs, strict=True):
            largest = max(_difference(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
            number = f"{largest:.1e}, {len(jax.tree.leaves(a))} arrays"
            claim = f"{claim} compared with PyTorch"
            yield Check(label, claim, f"within {TOLERANCE:.0e}", number, bool(largest < TOLERANCE), SOURCE)


def _difference(a, b) -> float:
    """Returns the largest difference, relative to the largest value; infinite for different shapes."""
    a, b = np.asarray(a), np.asarray(b)
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)) if a.shape == b.shape else np.inf


def _ours(module, params, images, ids, train):
    def loss(params):
        heads = module.apply({"params": params}, images, train=train, mutable=["batch_stats"])[0] if train else None
        heads = module.apply({"params": params}, images) if heads is None else heads
        entropy = optax.softmax_cross_entropy_with_integer_labels
        return sum(entropy(logits, ids).mean() for logits in heads), heads

    tx = optax.adam(LEARNING_RATE)

    @jax.jit
    def step(params, state):
        gradients, heads = jax.grad(loss, has_aux=True)(params)
        updates, state = tx.update(gradients, state)
        return optax.apply_updates(params, updates), state, gradients, heads

    params = jax.tree.map(jnp.asarray, params)
    state, first = tx.init(params), None
    for _ in range(STEPS):
        params, state, gradients, heads = step(params, state)
        first = first or (list(heads), gradients)
    return *first, params


def _theirs(torch, name, module, params, images, ids):
    weights = jax.tree.map(lambda leaf: torch.tensor(leaf, requires_grad=True), params)
    net = TorchGrid(torch, weights, module.depth, module.padding, module.norm, module.variant == "release")
    leaves = jax.tree.leaves(weights)
    optimizer = torch.optim.Adam(leaves, lr=LEARNING_RATE, eps=1e-8)
    x, y, first = torch.tensor(images).permute(0, 3, 1, 2), torch.tensor(ids), None
    for _ in range(STEPS):
        heads = getattr(net, name)(x)
        optimizer.zero_grad()
        sum(torch.nn.functional.cross_entropy(logits, y) for logits in heads).backward()
        if first is None:
            gradients = jax.tree.map(lambda leaf: leaf.grad.numpy().copy(), weights)
            first = [logits.detach().permute(0, 2, 3, 1).numpy() for logits in heads], gradients
        optimizer.step()
    return *first, jax.tree.map(lambda leaf: leaf.detach().numpy(), weights)
