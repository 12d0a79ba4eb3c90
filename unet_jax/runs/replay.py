"""Replay of a run: its state and batch at any step, computed in memory from its config and its checkpoints.

The batch of step s is a function of the seed and s, and a resumed run is bit-equal to an uninterrupted one. So the state of
any step follows from the nearest checkpoint before it, by the run's own training step. The states are bit-equal with the
packages and the number of devices that trained the run; with others they differ by rounding.
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
from unet_jax.data.loading import train_pipeline
from unet_jax.errors import UserError
from unet_jax.experiment.build import build_experiment
from unet_jax.runs.warm_start import initialize_from
from unet_jax.runs.workdir import PRUNED, load_config, load_facts, resolve
from unet_jax.runtime import parallel
from unet_jax.storage.digests import file_sha256
from unet_jax.tracking.metrics_file import read_metrics
from unet_jax.training.optim.plateau import observe_score
from unet_jax.training.state import TrainState


class Replay:
    """Replays a run, or trains a config that has no run; nothing is written.

    Args:
      config: of the run.
      name: of the run, for errors.
      workdir: of the run, whose checkpoints save training; None to train from step 0.
      devices: to run on; all local ones by default.

    Attributes:
      parts: of the experiment.
      saved: the steps whose state is known without training: 0, and those of the checkpoints.

    Raises:
      UserError: the config has an error, or the data are not those of the run.
    """

    def __init__(self, config: ConfigDict, name: str, *, workdir: Path | None = None, devices=None):
        self.config, self.name, self.devices = config, name, devices
        self._recorded = _read(workdir) if workdir else {}
        self._checkpoints = workdir and workdir / "checkpoints"
        self._scores = _scores(workdir) if workdir else {}
        self.parts = build_experiment(config, devices)
        fingerprint = self.parts.dataset.fingerprint
        recorded = self._recorded["data"]["fingerprint"] if workdir else fingerprint
        if recorded != fingerprint:
            raise UserError(
                f"{name}: the data are not those that it was trained on (fingerprint {recorded[:12]} there, "
                f"{fingerprint[:12]} now); restore the files"
            )
        self.saved = [0]
        if workdir and self._checkpoints.is_dir():
            with Checkpointer(self._checkpoints, read_only=True) as checkpointer:
                self.saved += checkpointer.steps()

    @classmethod
    def of_run(cls, workdir, devices=None) -> "Replay":
        """Returns the Replay of the run in `workdir`; raises UserError if none can be read there."""
        workdir = resolve(workdir)
        try:
            config = load_config(workdir)
            _read(workdir)
        except (OSError, json.JSONDecodeError) as error:
            raise UserError(f"--workdir={workdir} cannot be read ({error}); give the folder of a whole run") from error
        return cls(config, f"--workdir={workdir}", workdir=workdir, devices=devices)

    def step_of(self, which: str | int) -> int:
        """Returns the step for "best", "latest" or a number from 0 to the run's last; raises UserError for any other."""
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
        """Returns (from, to) of the training that each of `steps` needs, in order.

        A leg begins at the nearest saved step, or at the leg before it if that is nearer.
        """
        legs: list[tuple[int, int]] = []
        for step in sorted(set(steps)):
            begin = max(saved for saved in self.saved if saved <= step)
            legs.append((max([begin, *(to for _, to in legs)]), step))
        return legs

    def states(self, steps: Iterable[int]) -> Iterator[tuple[int, TrainState, dict]]:
        """Yields (s, the state after s steps, the batch of step s + 1) for each s of `steps`, in order, on the host.

        The batch is as `train_batches` gives it, before augmentation, which is a part of the step. A bar shows the training.

        Raises:
          UserError: a checkpoint is damaged, what the run started from has changed, loss or weights are not finite, or the
            learning rate depends on a score that the run does not have.
        """
        legs = self.legs(steps)
        at, state, p_step = -1, None, None
        total = sum(to - begin for begin, to in legs)
        # Seconds between two updates; a log file needs fewer lines.
        interval = 0.5 if sys.stderr.isatty() else 10
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
        """Updates the schedule "plateau" with the score on val after `step`, from metrics.jsonl, if `step` was evaluated."""
        parts = self.parts
        if not parts.plateau or step % parts.durations.eval_every:
            return state
        if step not in self._scores:
            raise UserError(
                f"{self.name}: optim.schedule 'plateau' follows the scores on val, and there is none of step {step}; give "
                "steps before it"
            )
        plateau = observe_score(parts.plateau, parallel.to_host(state.plateau), self._scores[step])
        return state.replace(plateau=parallel.replicate(plateau, self.devices))

    def _compile(self, state, batch):
        step = self.parts.create_step()
        return parallel.compile_step(parallel.pmap_step(step, self.devices), state, batch)

    def _batches(self, step: int) -> Iterator[dict]:
        train, parts = self.config.train, self.parts
        source = parts.dataset.source("train")
        return train_pipeline.train_batches(
            source, batch_size=train.batch_size, seed=self.config.seed, start_step=step, **parts.loading_options
        )

    def _state(self, step: int) -> TrainState:
        """Returns the state of a checkpoint, or of step 0 as the run began, on the host."""
        config, parts = self.config, self.parts
        if step:
            with Checkpointer(self._checkpoints, read_only=True) as checkpointer:
                return checkpointer.restore(step, jax.eval_shape(parts.create_state))
        path = config.model.get("encoder_weights", "")
        if path:
            self._check_same("encoder_weights_sha256", file_sha256(path))
        state = parts.create_state(path)
        if config.train.init_from:
            state, origin = initialize_from(state, parts.tx, config.train.init_from)
            self._check_same("init_from", origin)
        return parallel.to_host(state)

    def _check_same(self, key: str, now) -> None:
        """Raises UserError if `now` is not what the run recorded under `key` when it began."""
        first = next(iter(self._recorded.get("starts", [])), {})
        if first.get(key, now) != now:
            raise UserError(
                f"{self.name} began from {key} {first[key]}, and there is now {now}; restore it, or give steps from its "
                f"first checkpoint on ({', '.join(map(str, self.saved[1:])) or 'there is none'})"
            )


def _read(workdir: Path) -> dict:
    """Reads `versions.json`; raises UserError if the folder holds a pruned network."""
    facts = load_facts(workdir)
    content = json.loads((workdir / "versions.json").read_text())
    if PRUNED in content:
        raise UserError(
            f"--workdir={workdir} holds a pruned network, without the training it came from; give the run's"
        )
    return content | {"data": facts}


def _scores(workdir: Path) -> dict[int, float]:
    """Returns the run's scores on val by step, as its schedule saw them; null in the file is NaN."""
    scores = {}
    for row in read_metrics(workdir / "metrics.jsonl"):
        if row["split"] == "val":
            score = row["iou_pooled/mean"]
            scores[row["step"]] = math.nan if score is None else score
    return scores
