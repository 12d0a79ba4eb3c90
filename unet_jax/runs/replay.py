"""A run's states and batches at any of its steps, made again in memory from its config and its checkpoints.

The batch of step s is a function of the seed and s, and a resumed run is that which was never stopped, bit by bit: so the
state of any step is that of the nearest checkpoint before it, trained on by the run's own step. That takes the packages
and the number of devices that trained the run; with others the states differ by rounding.
"""

import json
import math
import sys
from collections.abc import Iterable, Iterator

import jax
from etils.epath import Path
from ml_collections import ConfigDict
from tqdm import tqdm

from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.data.loading import pipeline
from unet_jax.errors import UserError
from unet_jax.experiment.build import build_experiment
from unet_jax.models.encoders import weights
from unet_jax.runs import workdir as folder
from unet_jax.runs.warm_start import initialize_from
from unet_jax.runtime import parallel
from unet_jax.tracking.metrics_file import read_metrics
from unet_jax.training.optim.plateau import observe_score
from unet_jax.training.state import TrainState


class Replay:
    """A run, or a config that was never trained, to be gone through again; nothing is written.

    Args:
      config: of the run.
      name: that errors call it by.
      workdir: of the run, whose checkpoints save training; None to train from step 0.
      devices: to run on; all local ones by default.

    Attributes:
      parts: of the experiment.
      saved: the steps whose state need not be trained for: 0, and those of the checkpoints.

    Raises:
      UserError: the config has an error, or the data are not those of the run.
    """

    def __init__(self, config: ConfigDict, name: str, *, workdir: Path | None = None, devices=None):
        self.config, self.name, self.devices = config, name, devices
        self._recorded = _read(workdir) if workdir else {}
        self._checkpoints = workdir and workdir / "checkpoints"
        self._scores = _scores(workdir) if workdir else {}
        self.parts = build_experiment(config, devices)
        here = self.parts.dataset.fingerprint
        there = self._recorded["data"]["fingerprint"] if workdir else here
        if there != here:
            raise UserError(
                f"{name}: the data are not those that it was trained on (fingerprint {there[:12]} there, {here[:12]} now); "
                "restore the files"
            )
        self.saved = [0]
        if workdir and self._checkpoints.is_dir():
            with Checkpointer(self._checkpoints, read_only=True) as checkpointer:
                self.saved += checkpointer.steps()

    @classmethod
    def of_run(cls, workdir, devices=None) -> "Replay":
        """Of the run in `workdir`; UserError where none can be read there."""
        workdir = folder.resolve(workdir)
        try:
            config = folder.load_config(workdir)
            _read(workdir)
        except (OSError, json.JSONDecodeError) as error:
            raise UserError(f"--workdir={workdir} cannot be read ({error}); give the folder of a whole run") from error
        return cls(config, f"--workdir={workdir}", workdir=workdir, devices=devices)

    def step_of(self, which: str | int) -> int:
        """The step that "best", "latest" or a number means, from 0 to the run's last; UserError for any other."""
        if which in ("best", "latest"):
            if len(self.saved) == 1:
                raise UserError(f"{self.name} has no checkpoint, so no {which} one; give a step")
            with Checkpointer(self._checkpoints, read_only=True) as checkpointer:
                return checkpointer.step_of(which)
        last, digits = self.parts.durations.num_steps, str(which)
        if not (digits.isascii() and digits.isdigit()) or int(digits) > last:
            raise UserError(
                f"step {which} is none of {self.name}: give a whole number from 0 to {last}, best or latest"
            )
        return int(digits)

    def legs(self, steps: Iterable[int]) -> list[tuple[int, int]]:
        """(from, to) of what has to be trained for each of `steps`, in order: from what is saved or was asked before."""
        found: list[tuple[int, int]] = []
        for step in sorted(set(steps)):
            begin = max(saved for saved in self.saved if saved <= step)
            found.append((max([begin, *(to for _, to in found)]), step))
        return found

    def states(self, steps: Iterable[int]) -> Iterator[tuple[int, TrainState, dict]]:
        """Yields (s, the state after s steps, the batch that it is trained on next), in order; both on the host.

        The batch is `train_batches`' own, before augmentation, which belongs to the step. A bar shows the training.

        Raises:
          UserError: a checkpoint is damaged, what the run started from has changed, loss or weights are no longer finite,
            or the rate depends on a score that was never made (`_observe`).
        """
        legs = self.legs(steps)
        at, state, p_step = -1, None, None
        total = sum(to - begin for begin, to in legs)
        interval = 0.5 if sys.stderr.isatty() else 10  # a log file needs no line for each step
        bar = tqdm(desc="training on", total=total, unit="step", mininterval=interval, disable=not total)
        with bar:
            for begin, to in legs:
                if begin != at:
                    at, state, batches = begin, self._state(begin), self._batches(begin)
                    batch = next(batches)
                if at < to:
                    state = parallel.replicate(state, self.devices)
                for at in range(begin + 1, to + 1):
                    arguments = state, parallel.shard(batch, self.devices)
                    p_step = p_step or self._compile(*arguments)
                    state, step_metrics = p_step(*arguments)
                    if not parallel.to_host(step_metrics["finite"]):
                        raise UserError(f"{self.name}: NaN or infinite at step {at}; give steps before it")
                    state = self._observe(at, state)
                    batch = next(batches)
                    bar.update()
                state = parallel.to_host(state)
                yield to, state, batch

    def _observe(self, step: int, state: TrainState) -> TrainState:
        """Tells the schedule "plateau" the score on val after `step`, from metrics.jsonl, where there was an evaluation."""
        parts = self.parts
        if not parts.plateau or step % parts.durations.eval_every:
            return state
        if step not in self._scores:
            raise UserError(
                f"{self.name}: optim.schedule 'plateau' follows the scores on val, and there is none of step {step}; give "
                "steps before it"
            )
        told = observe_score(parts.plateau, parallel.to_host(state.plateau), self._scores[step])
        return state.replace(plateau=parallel.replicate(told, self.devices))

    def _compile(self, state, batch):
        step = self.parts.create_step()
        return parallel.compile_step(parallel.pmap_step(step, self.devices), state, batch)

    def _batches(self, step: int) -> Iterator[dict]:
        train, parts = self.config.train, self.parts
        source = parts.dataset.source("train")
        return pipeline.train_batches(
            source, batch_size=train.batch_size, seed=self.config.seed, start_step=step, **parts.reading
        )

    def _state(self, step: int) -> TrainState:
        """That of a checkpoint, or of step 0 as the run began; on the host."""
        config, parts = self.config, self.parts
        if step:
            with Checkpointer(self._checkpoints, read_only=True) as checkpointer:
                return checkpointer.restore(step, jax.eval_shape(parts.create_state))
        path = config.model.get("encoder_weights", "")
        if path:
            self._check_same("encoder_weights_sha256", weights.digest(path))
        state = parts.create_state(path)
        if config.train.init_from:
            state, origin = initialize_from(state, parts.tx, config.train.init_from)
            self._check_same("init_from", origin)
        return parallel.to_host(state)

    def _check_same(self, key: str, now) -> None:
        """Raises UserError where the run began from something else than what is there now."""
        first = next(iter(self._recorded.get("starts", [])), {})
        if first.get(key, now) != now:
            raise UserError(
                f"{self.name} began from {key} {first[key]}, and there is now {now}; restore it, or give steps from its "
                f"first checkpoint on ({', '.join(map(str, self.saved[1:])) or 'there is none'})"
            )


def _read(workdir: Path) -> dict:
    """`versions.json`: what the run was trained on and started from."""
    facts = folder.load_facts(workdir)
    content = json.loads((workdir / "versions.json").read_text())
    if folder.PRUNED in content:
        raise UserError(
            f"--workdir={workdir} holds a pruned network, without the training it came from; give the run's"
        )
    return content | {"data": facts}


def _scores(workdir: Path) -> dict[int, float]:
    """The run's score on val by step, as its schedule and its best checkpoint saw it; NaN where there was none."""
    found = {
        row["step"]: row["iou_pooled/mean"] for row in read_metrics(workdir / "metrics.jsonl") if row["split"] == "val"
    }
    return {step: math.nan if score is None else score for step, score in found.items()}
