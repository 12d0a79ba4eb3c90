"""Gradient flow: how large the gradient of each layer is, from the image to the output, at chosen steps of runs.

    python -m unet_jax.analysis.gradients --workdir=runs/unet --workdir=runs/unet_pp --steps=0,50,200 --out=runs/gradients

Of each kernel, in the order in which the network runs them: the Euclidean norm of the gradient of the training loss, before
clipping, on the very batch of that step, with its augmentation and dropout. A run is a pure function of its config, so the
state at any step is made again: from the run's nearest checkpoint before it, else from the start, training on in memory;
the run's folder is only read. OUT (default: gradients in the first folder) gets gradients.csv, a line for each kernel, and
gradients.png. The table has for each run and step the norm of the first kernel over that of the last: 1 is an even flow,
far below 1 a gradient that fades on its way to the image.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags
from flax import linen as nn
from flax.traverse_util import flatten_dict
from tqdm import tqdm

from unet_jax import cli, parallel
from unet_jax.data import pipeline
from unet_jax.errors import UserError, writing
from unet_jax.training import experiment, start_from
from unet_jax.training import workdir as folder
from unet_jax.training.checkpoint import Checkpointer
from unet_jax.training.state import TrainState, create_state
from unet_jax.training.step import create_train_step


class Flow(NamedTuple):
    """The gradient of one kernel: `depth` is 0 for the first that runs and 1 for the last, `norm` that of the gradient.

    `asked` is the step as the user wrote it, `weight` the norm of the kernel itself, `rms` the root of the mean square of
    the gradient's entries.
    """

    run: str
    asked: str
    step: int
    layer: str
    depth: float
    norm: float
    weight: float
    rms: float


class Replay:
    """A run's training, made again in memory from its checkpoints.

    Raises:
      UserError: there is no such run, or its data are not those that it was trained on.
    """

    def __init__(self, workdir: str | Path, devices=None):
        self.workdir, self._devices = folder.resolve(workdir), devices
        self.config = folder.load_config(workdir)
        self._parts = experiment.create(self.config, devices)
        if self._parts.dataset.fingerprint != folder.load_facts(workdir)["fingerprint"]:
            raise UserError(f"--workdir={workdir}: its data have changed since it was trained; restore the files")
        self._fresh = self._state = None
        with Checkpointer(self.workdir / "checkpoints", read_only=True) as checkpointer:
            self.saved = checkpointer.steps()

    def state(self, step: int) -> TrainState:
        """The state after `step` steps: a tree of NumPy arrays; bit by bit the run's own on the same devices."""
        before = max((saved for saved in self.saved if saved <= step), default=0)
        if self._state is None or not before <= int(self._state.step) <= step:
            self._state = self._read(before)
        if self._state.step < step:
            self._state = self._run(self._state, step, self._parts.tx)
        return self._state

    def gradient(self, step: int):
        """The gradient by the parameters that the run's next step takes after `step` steps, before clipping."""
        zeros = lambda params: jax.tree.map(jnp.zeros_like, params)  # noqa: E731
        kept = optax.GradientTransformation(zeros, lambda grads, _, params: (zeros(params), grads))
        state = self.state(step)
        state = state.replace(opt_state=jax.tree.map(np.zeros_like, state.params))
        return self._run(state, step + 1, kept).opt_state

    def _read(self, step: int) -> TrainState:
        parts, config = self._parts, self.config
        if self._fresh is None:
            weights = config.model.get("encoder_weights", "")
            about = {"patch": parts.reading["patch"], "channels": parts.dataset.channels, "encoder_weights": weights}
            self._fresh = create_state(parts.module, parts.tx, seed=config.seed, **about)
        if step:
            with Checkpointer(self.workdir / "checkpoints", read_only=True) as checkpointer:
                return checkpointer.restore(step, self._fresh)
        if config.train.start_from:
            return parallel.to_host(start_from.start_from(self._fresh, parts.tx, config.train.start_from)[0])
        return parallel.to_host(self._fresh)

    def _run(self, state: TrainState, until: int, tx) -> TrainState:
        """The state after the steps up to `until`, with the updates of `tx`."""
        parts, config, start = self._parts, self.config, int(state.step)
        body = create_train_step(
            parts.module, parts.loss, tx, parts.schedule, seed=config.seed, augmentation=config.augment.to_dict()
        )
        batches = pipeline.train_batches(
            parts.dataset.source("train"),
            batch_size=config.train.batch_size,
            seed=config.seed,
            start_step=start,
            **parts.reading,
        )
        state, p_step = parallel.replicate(state, self._devices), parallel.pmap_step(body, self._devices)
        steps = range(start, until)
        for step in tqdm(steps, desc=f"{self.workdir.name}, training on", leave=False, disable=len(steps) < 2):
            batch = parallel.shard(next(batches), self._devices)
            if step == start:
                p_step = parallel.compile_step(p_step, state, batch)
            state, metrics = p_step(state, batch)
            if not parallel.to_host(metrics["finite"]) and step + 1 < until:
                raise UserError(f"--workdir={self.workdir}: step {step + 1} is not finite; ask for earlier --steps")
        return parallel.to_host(state)

    def kernels(self) -> list[str]:
        """See `kernels`, of the run's network."""
        image = (1, *self._parts.reading["patch"], self._parts.dataset.channels)
        return kernels(self._parts.module, jax.ShapeDtypeStruct(image, jnp.float32))


def kernels(module: nn.Module, image) -> list[str]:
    """The paths of a network's kernels, "enc_0/conv_0/kernel", in the order in which they run on `image` `[1, H, W, C]`."""
    order = []

    def note(next_function, args, kwargs, context):
        if context.method_name == "__call__":
            order.append("/".join(context.module.path))
        return next_function(*args, **kwargs)

    with nn.intercept_methods(note):
        variables = jax.eval_shape(module.init, jax.random.key(0), image)
    paths = [path for path in flatten_dict(variables["params"], sep="/") if path.endswith("/kernel")]
    return sorted(paths, key=lambda path: order.index(path.removesuffix("/kernel")))


def flows(replay: Replay, run: str, asked: str) -> Iterator[Flow]:
    """The gradient of every kernel of a run that is to be called `run`, in the order of the layers."""
    step = step_of(asked, replay)
    gradient = flatten_dict(replay.gradient(step), sep="/")
    params = flatten_dict(replay.state(step).params, sep="/")
    names = replay.kernels()
    for index, name in enumerate(names):
        own, weight = (np.asarray(tree[name], np.float64).ravel() for tree in (gradient, params))
        depth, rms = index / max(len(names) - 1, 1), np.sqrt(np.mean(own**2))
        yield Flow(
            run,
            asked,
            step,
            name.removesuffix("/kernel"),
            depth,
            *map(float, (np.linalg.norm(own), np.linalg.norm(weight), rms)),
        )


def step_of(asked: str, replay: Replay) -> int:
    """The step of a run that the user calls `asked`, "latest" being the last one saved; UserError where there is none."""
    last = replay.config.train.num_steps
    if asked == "latest":
        return max(replay.saved, default=0)
    if not (asked.isdecimal() and int(asked) <= last):
        raise UserError(
            f"--steps: {asked!r} is no step of {replay.workdir}; give latest, or whole numbers from 0 to {last}"
        )
    return int(asked)


def table(found: Sequence[Flow]) -> str:
    """A line for each run and step: norms of the first and the last kernel, their ratio, and the median of all."""
    lines = [f"{'run':32}{'step':>7}{'first':>11}{'last':>11}{'first/last':>12}{'median':>11}"]
    for run, step in dict.fromkeys((flow.run, flow.step) for flow in found):
        norms = [flow.norm for flow in found if (flow.run, flow.step) == (run, step)]
        ratio = norms[0] / norms[-1] if norms[-1] else np.nan
        lines.append(f"{run:32}{step:7}{norms[0]:11.2e}{norms[-1]:11.2e}{ratio:12.3f}{np.median(norms):11.2e}")
    return "\n".join(lines)


def write(found: Sequence[Flow], out: str | Path) -> list[Path]:
    """Writes `gradients.csv` and `gradients.png` into `out`; those there are replaced."""
    out = Path(out).expanduser()
    paths = [out / "gradients.csv", out / "gradients.png"]
    with writing():
        out.mkdir(parents=True, exist_ok=True)
        with paths[0].open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(Flow._fields)
            rows.writerows(found)
        _draw(found).savefig(paths[1])
    return paths


def _draw(found: Sequence[Flow]):
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second that --help need not wait for
    from matplotlib.figure import Figure

    steps = list(dict.fromkeys(flow.asked for flow in found))
    figure = Figure(figsize=(max(5.0, 4.2 * len(steps)), 4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot: nothing global, no window
    axes = figure.subplots(1, len(steps), sharey=True, squeeze=False)[0]
    runs = list(dict.fromkeys(flow.run for flow in found))
    for axis, step in zip(axes, steps, strict=True):
        for colour, run in enumerate(runs):
            points = [(flow.depth, flow.norm) for flow in found if (flow.run, flow.asked) == (run, step)]
            if points:
                axis.plot(*zip(*points, strict=True), marker=".", linewidth=1, color=f"C{colour}", label=run)
        axis.set_yscale("log")
        axis.set_title("at the last step saved" if step == "latest" else f"after {step} steps", loc="left", fontsize=9)
        axis.set_xlabel("layer, from the image (0) to the output (1)")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("norm of the kernel's gradient")
    axes[0].legend(fontsize=8)
    return figure


def define_flags() -> None:
    flags.DEFINE_multi_string(
        "workdir", None, "Folder of a run, as given to run_train.py; may be repeated.", required=True
    )
    flags.DEFINE_list("steps", "0,latest", "Steps after which to look: whole numbers, or latest for the last saved.")
    flags.DEFINE_string("out", "", "Folder to write into. Default: gradients in the first --workdir.")


def main() -> None:
    values = flags.FLAGS
    names = [folder.resolve(workdir).name for workdir in values.workdir]
    if len(set(names)) < len(names):
        raise UserError(
            f"--workdir: two runs are called {max(names, key=names.count)}; give folders of different names"
        )
    replays = [Replay(workdir) for workdir in values.workdir]
    steps = sorted({step.strip() for step in values.steps}, key=lambda step: (not step.isdecimal(), step.zfill(12)))
    for replay in replays:  # all of them before the first is trained
        for step in steps:
            step_of(step, replay)
    found = [
        flow
        for name, replay in zip(names, replays, strict=True)
        for step in steps
        for flow in flows(replay, name, step)
    ]
    print(table(found) + "\n")
    for path in write(found, values.out or folder.resolve(values.workdir[0]) / "gradients"):
        print(f"written: {path}")


if __name__ == "__main__":
    define_flags()
    cli.run(main, __doc__)
