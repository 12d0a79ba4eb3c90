"""Replays a run: computes its state and batch at any step in memory, from its config and its checkpoints.

The batch of step s is a function of the seed and s, and a resumed run is bit-equal to an uninterrupted one. So the state of
any step follows from the nearest checkpoint before it, by the training step of the run. The states are bit-equal with the
packages and the number of devices that trained the run; with others they differ by rounding.
"""

import functools
import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
from etils.epath import Path
from ml_collections import ConfigDict
from tqdm import tqdm

from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.data.loading import train_pipeline
from unet_jax.errors import UserError
from unet_jax.experiment.build import build_experiment
from unet_jax.runs.choice import val_can_choose
from unet_jax.runs.records import read_versions
from unet_jax.runs.warm_start import initialize_from
from unet_jax.runs.workdir import PRUNED, load_config, load_facts, resolve
from unet_jax.runtime import parallel
from unet_jax.storage.digests import file_sha256
from unet_jax.tracking.metrics_file import read_metrics
from unet_jax.training.optim.plateau import observe_score
from unet_jax.training.state import TrainState


class Replay:
    """Replays a run, or trains a config that has no run. Writes nothing.

    Args:
      config: the config of the run.
      name: the name of the run in errors.
      workdir: the folder of the run, whose checkpoints shorten the training; None to train from step 0.
      devices: the devices to run on; all local ones by default.

    Attributes:
      parts: the parts of the experiment.
      saved: the steps whose state is known without training: 0, and those of the checkpoints.

    Raises:
      UserError: the config has an error, or the data are not those of the run.
    """

    def __init__(
        self,
        config: ConfigDict,
        name: str,
        *,
        workdir: Path | None = None,
        devices: Sequence[jax.Device] | None = None,
    ):
        self.config, self.name, self.devices = config, name, devices
        self._recorded = _read(workdir) if workdir else {}
        # Read only where a checkpoint is in `saved`.
        self._checkpoints = workdir / "checkpoints" if workdir else Path()
        self._scores = _scores(workdir) if workdir else {}
        self.parts = build_experiment(config, devices)
        fingerprint = self.parts.dataset.fingerprint
        recorded = self._recorded["data"]["fingerprint"] if workdir else fingerprint
        if recorded != fingerprint:
            raise UserError(
                f"{name}: the run was trained on other data (fingerprint {recorded[:12]} there, {fingerprint[:12]} now); "
                "restore the files"
            )
        self.saved = [0]
        if workdir and self._checkpoints.is_dir():
            with Checkpointer(self._checkpoints, read_only=True) as checkpointer:
                self.saved += checkpointer.steps()

    @classmethod
    def of_run(cls, workdir: str | os.PathLike, devices: Sequence[jax.Device] | None = None) -> "Replay":
        """Returns the Replay of the run in `workdir`.

        Args:
          workdir: the folder of the run.
          devices: the devices to run on; all local ones by default.

        Raises:
          UserError: no run can be read there; or as the constructor.
        """
        folder = resolve(workdir)
        config = load_config(folder)
        _read(folder)
        return cls(config, f"--workdir={folder}", workdir=folder, devices=devices)

    def step_of(self, which: str | int) -> int:
        """Returns the step for "best", "latest" or a number from 0 to the run's last step.

        Raises:
          UserError: there is no such step or checkpoint.
        """
        if which in ("best", "latest"):
            if len(self.saved) == 1:
                raise UserError(f"{self.name} has no checkpoint, so none is the {which} one; give a step")
            with Checkpointer(self._checkpoints, read_only=True) as checkpointer:
                return checkpointer.step_of(which)
        last, digits = self.parts.durations.num_steps, str(which)
        # Python makes no number of thousands of digits.
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 18 or int(digits) > last:
            raise UserError(
                f"step {which}: {self.name} has no such step; give a whole number from 0 to {last}, best or latest"
            )
        return int(digits)

    def legs(self, steps: Iterable[int]) -> list[tuple[int, int]]:
        """Returns the training that `steps` need, as pairs (first step, last step) in order.

        Each pair is for one of `steps`. It starts at the nearest saved step before it, or at the end of the pair before it
        if that is nearer.
        """
        legs: list[tuple[int, int]] = []
        for step in sorted(set(steps)):
            begin = max(saved for saved in self.saved if saved <= step)
            legs.append((max([begin, *(to for _, to in legs)]), step))
        return legs

    def states(self, steps: Iterable[int]) -> Iterator[tuple[int, TrainState, dict]]:
        """Yields (s, the state after s steps, the batch of step s + 1) for each s of `steps`, in order, on the host.

        The batch is not augmented yet: augmentation is a part of the step. A bar shows the training.

        Raises:
          UserError: a checkpoint is damaged, the weights that the run started from have changed, loss or weights are not
            finite, or the learning rate depends on a score that the run does not have.
        """
        legs = self.legs(steps)
        at, p_step = -1, None
        state: TrainState
        total = sum(to - begin for begin, to in legs)
        # Seconds from one update to the next; a log file needs fewer lines.
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
                        raise UserError(
                            f"{self.name}: loss or weights of step {at} are NaN or infinite; give steps before it"
                        )
                    state = self._observe(at, state)
                    batch = next(batches)
                    bar.update()
                state = parallel.to_host(state)
                yield to, state, batch

    def _observe(self, step: int, state: TrainState) -> TrainState:
        """Updates the schedule "plateau" with the score on val after `step`, from metrics.jsonl, if `step` was evaluated."""
        parts = self.parts
        if not parts.plateau or step % parts.durations.eval_every or not self._val_can_choose:
            return state
        if step not in self._scores:
            raise UserError(
                f"{self.name}: optim.schedule 'plateau' needs the score on val of step {step}, and metrics.jsonl has none; "
                "give steps before it"
            )
        plateau = observe_score(parts.plateau, parallel.to_host(state.plateau), self._scores[step])
        return state.replace(plateau=parallel.replicate(plateau, self.devices))

    @functools.cached_property
    def _val_can_choose(self) -> bool:
        return val_can_choose(self.parts, self.parts.dataset.source("val"))

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
        first: dict[str, Any] = next(iter(self._recorded.get("starts", [])), {})
        if first.get(key, now) != now:
            raise UserError(
                f"{self.name} started from {key} {first[key]}, which is now {now}; restore it, or give steps after the "
                f"run's first checkpoint ({', '.join(map(str, self.saved[1:])) or 'there is none'})"
            )


def _read(workdir: Path) -> dict:
    """Reads `versions.json`; raises UserError if the folder holds a pruned network."""
    load_facts(workdir)
    content = read_versions(workdir)
    if PRUNED in content:
        raise UserError(
            f"--workdir={workdir} holds a pruned network, which was not trained there; give the folder of its run"
        )
    return content


def _scores(workdir: Path) -> dict[int, float]:
    """Returns the run's scores on val by step, as its schedule read them; null in the file is NaN."""
    scores = {}
    for row in read_metrics(workdir / "metrics.jsonl"):
        if row["split"] == "val":
            score = row.get("iou_pooled/mean")
            scores[row["step"]] = math.nan if score is None else score
    return scores
