"""Measures U-Net++ at every level and in both modes: scores, size, and speed compared with the deepest level."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import jax
import numpy as np
from flax import linen as nn

from unet_jax.analysis.compare.estimate import estimate
from unet_jax.data.store.sources import size_of
from unet_jax.errors import UserError
from unet_jax.evaluation import jackknife
from unet_jax.inference.forward import forward, mean_probabilities, select_heads
from unet_jax.inference.options import MODES
from unet_jax.inference.predictor import Predictor
from unet_jax.models.blocks import Block
from unet_jax.runtime import parallel
from unet_jax.runtime.program_cost import Cost, in_turns
from unet_jax.training.state import count_parameters

# Times faster than L4, read off figure 3 of Zhou et al. (DLMIA 2018): 15.6, 22.8, 36.3 and 54.6 s for 10,000 images.
PAPER_DEPTH, PAPER_FASTER = 4, {1: 3.5, 2: 2.4, 3: 1.5, 4: 1.0}

# (level, mode)
Key = tuple[int, str]


def deepest(module: nn.Module) -> int:
    """Returns the deepest trained level of a network.

    Args:
      module: the network as trained.

    Raises:
      UserError: the network has no levels, or its lower levels have no trained heads.
    """
    if module.levels == (0,):
        raise UserError(
            f"the run's network is a {type(module).__name__}, which has no levels to prune; "
            "train model.name=unet_pp with model.deep_supervision=True"
        )
    if not module.deep_supervision:
        raise UserError(
            "the run's network has one head (model.deep_supervision=False), so its lower levels have none; "
            "train with model.deep_supervision=True"
        )
    return module.levels[-1]


def create_predictors(whole: Predictor) -> dict[Key, Predictor]:
    """Creates a predictor of each level in each mode, with only the variables that it needs.

    Args:
      whole: predictor of the whole network, with all heads.

    Raises:
      UserError: the network cannot be pruned; see `deepest`.
    """
    predictors = {}
    for level in range(1, deepest(whole.module) + 1):
        for mode in MODES:
            variables = subset(whole, select_heads(whole.module, mode, level))
            predictors[level, mode] = dataclasses.replace(whole, variables=variables, mode=mode, level=level)
    return predictors


def subset(whole: Predictor, network: nn.Module) -> dict[str, Any]:
    """Returns the variables of `whole` that `network`, a part of its network, needs."""
    size = whole.module.input_size(whole.pad_multiple)
    images = jax.ShapeDtypeStruct((1, size, size, whole.channels), "float32")

    def take(tree, like):
        return {name: take(tree[name], part) for name, part in like.items()} if isinstance(like, Mapping) else tree

    return take(whole.variables, jax.eval_shape(network.init, jax.random.key(0), images))


def choose(iou: Mapping[int, float], max_iou_drop: float) -> tuple[int, str]:
    """Chooses the smallest level whose score lies at most `max_iou_drop` points (percent) below that of the deepest.

    Args:
      iou: IoU by level, 0 to 1, all in one mode.
      max_iou_drop: largest drop, in points: 0.5 is 0.005 of IoU.

    Returns:
      The level, and the reason in words.

    Raises:
      UserError: the deepest level has no score, because no image has a reported class.

    >>> choose({1: 0.80, 2: 0.896, 3: 0.90}, max_iou_drop=0.5)[0]
    2
    """
    last = max(iou)
    if np.isnan(iou[last]):
        raise UserError(
            "no image of the split has a reported class (eval.classes), so no level has a score; choose another split"
        )
    drop = {level: 100 * (iou[last] - score) for level, score in iou.items()}
    # A comparison with NaN is false.
    level = min(level for level in iou if drop[level] <= max_iou_drop)
    losses = {k: f"level {k} loses {drop[k]:.2f}" for k in iou}
    if level == last:
        below = f" ({losses[last - 1]})" if last - 1 in losses else ""
        return level, f"no smaller level lies within {max_iou_drop:g} points of it{below}"
    lost = f"{drop[level]:.2f} points below" if drop[level] > 0 else f"{-drop[level]:.2f} points above"
    below = f"; {losses[level - 1]}" if level - 1 in losses else ""
    return level, (
        f"its {iou[level]:.4f} is {lost} level {last}'s {iou[last]:.4f}; at most {max_iou_drop:g} points below are allowed{below}"
    )


def timing_images(source: Any, predictor: Predictor, limit: int) -> tuple[list[np.ndarray], int]:
    """Chooses images for the timing: those of the most common padded size, the larger of two equally common ones.

    Args:
      source: random access to Examples.
      predictor: the trained network.
      limit: the largest number of images, which are spread evenly over those of that size.

    Returns:
      The images as the network takes them, float32 `[h, w, C]`, and the number of all images of that size.
    """
    sizes = [predictor.padded_size(*size_of(source, index)) for index in range(len(source))]
    number, _, size = max((count, size[0] * size[1], size) for size, count in Counter(sizes).items())
    indices = [index for index, other in enumerate(sizes) if other == size]
    places = np.unique(np.linspace(0, number - 1, min(limit, number)).round().astype(int))
    return [predictor.prepare(source[indices[place]]["image"]) for place in places], number


def create_program(
    predictor: Predictor, shape: tuple[int, ...], device: jax.Device, fn: Callable = forward
) -> tuple[Cost, Callable[[np.ndarray], object]]:
    """Compiles the forward pass of one image on one device.

    Args:
      predictor: the trained network.
      shape: shape of the image, `[h, w, C]`.
      device: the device.
      fn: the function of a batch, `(network, mode, variables, batch) -> outputs`.

    Returns:
      The cost, and a function that takes an image from the host's memory to its probabilities on the device and waits for
      them.
    """
    variables = parallel.replicate(predictor.variables, [device])
    part = functools.partial(fn, predictor.network, predictor.mode)
    like = jax.ShapeDtypeStruct((1, 1, *shape), "float32")
    # `jax.pmap` returns a function that can be lowered.
    p_forward = cast(jax.stages.Wrapped, parallel.pmap_forward(part, [device]))
    program = p_forward.lower(variables, {"image": like}).compile()
    return Cost.of(program), lambda image: jax.block_until_ready(program(variables, {"image": image[None, None]}))


def measure(
    predictors: Mapping[Key, Predictor], images: Sequence[np.ndarray], rounds: int, device: jax.Device
) -> dict[Key, dict[str, Any]]:
    """Measures size, work, memory and time of each predictor, one image at a time on one device, in turns.

    Args:
      predictors: predictors by level and mode.
      images: images of one shape, `[h, w, C]`.
      rounds: the number of times that each predictor is timed.
      device: the device.

    Returns:
      By level and mode: `parameters`; `flops`, `temporary_bytes`, `argument_bytes`, `output_bytes` and `peak_bytes` as in
      `Cost`; `p50_ms` and `p95_ms`; `faster`, the p50 of the deepest level in the same mode divided by this p50; and
      `paper_faster`, the paper's value for a network of its depth in mode "fast", else None.
    """
    programs = {key: create_program(predictor, images[0].shape, device) for key, predictor in predictors.items()}
    runs = {key: lambda number, run=run: run(images[number % len(images)]) for key, (_, run) in programs.items()}
    seconds = in_turns(runs, rounds)
    p50, p95 = ({key: 1e3 * float(np.quantile(seconds[key], part)) for key in seconds} for part in (0.5, 0.95))
    last = max(level for level, _ in predictors)
    rows = {}
    for (level, mode), predictor in predictors.items():
        cost = programs[level, mode][0]
        like_paper = mode == "fast" and last == predictor.module.depth == PAPER_DEPTH
        rows[level, mode] = {
            "parameters": count_parameters(predictor.variables["params"]),
            "flops": cost.flops,
            "temporary_bytes": cost.temporary,
            "argument_bytes": cost.argument,
            "output_bytes": cost.output,
            "peak_bytes": cost.peak,
            "p50_ms": p50[level, mode],
            "p95_ms": p95[level, mode],
            "faster": p50[last, mode] / p50[level, mode],
            "paper_faster": PAPER_FASTER[level] if like_paper else None,
        }
    return rows


def scores(predictor: Predictor, rows: Sequence[Mapping]) -> dict[str, float]:
    """Returns the scores of an evaluation with their 95 % intervals over images, or over groups of images.

    Args:
      predictor: the trained network.
      rows: rows of the images, from `evaluate`.

    Returns:
      `iou_pooled` and `iou_image`, means over the reported classes, and the ends of each interval, `..._low` and
      `..._high`.
    """
    row: dict[str, float] = {}
    for kind, scores_of_kind in left_out(predictor, rows).items():
        found = estimate(scores_of_kind)
        row |= {f"iou_{kind}": found.mean, f"iou_{kind}_low": found.low, f"iou_{kind}_high": found.high}
    return row


def left_out(predictor: Predictor, rows: Sequence[Mapping]) -> dict[str, jackknife.LeftOut]:
    """Returns IoU of all images and of all but one, pooled and per image; see `jackknife.leave_one_out`."""
    counts = jackknife.counts(rows, predictor.report_classes)
    return jackknife.leave_one_out([counts], "iou", [row["group"] for row in rows])


def node_memory(predictor: Predictor, shape: tuple[int, ...], device: jax.Device) -> dict[str, Any]:
    """Computes the memory of the nodes' maps for one image.

    Args:
      predictor: the trained network.
      shape: shape of the image, `[h, w, C]`.
      device: the device.

    Returns:
      `nodes`, the bytes of each node's map by name, and `keeping_bytes`, the bytes of temporaries and output of a forward
      pass that returns all maps. The usual pass frees a map after its last reader.
    """
    part = functools.partial(forward_and_nodes, predictor.network, predictor.mode)
    image = jax.ShapeDtypeStruct((1, *shape), "float32")
    _, maps = jax.eval_shape(part, predictor.variables, {"image": image})
    keeping, _ = create_program(predictor, shape, device, forward_and_nodes)
    return {
        "nodes": {name: sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(node)) for name, node in maps.items()},
        "keeping_bytes": keeping.temporary + keeping.output,
    }


def forward_and_nodes(
    module: nn.Module, mode: str, variables: Any, batch: Mapping[str, jax.Array]
) -> tuple[jax.Array, Any]:
    """Returns the probabilities of `forward`, and the map of every node by its name."""

    def is_node(part: nn.Module, method: str) -> bool:
        return isinstance(part, Block) and method == "__call__"

    heads, state = module.apply(
        variables, batch["image"], train=False, capture_intermediates=is_node, mutable=["intermediates"]
    )
    return mean_probabilities(heads, module.activation, mode), state["intermediates"]
