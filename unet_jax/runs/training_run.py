"""Opens a run for training: its parts, its state, and everything that saves and records it."""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from etils.epath import Path
from ml_collections import ConfigDict

from unet_jax.checkpoints import disk_space
from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.checkpoints.recover import restore_latest
from unet_jax.data.loading import train_pipeline
from unet_jax.data.store.sources import InMemory
from unet_jax.errors import UserError
from unet_jax.experiment.build import Experiment, build_experiment, channel_names
from unet_jax.experiment.imports import describe_unrecorded
from unet_jax.experiment.sections import read_sections
from unet_jax.runs import shared_workdir
from unet_jax.runs.choice import describe_no_choice, val_can_choose
from unet_jax.runs.patience import out_of_patience
from unet_jax.runs.same_bits import note_of_change
from unet_jax.runs.stop_signal import StopSignal
from unet_jax.runs.warm_start import initialize_from
from unet_jax.runs.workdir import add_start, recorded_memory
from unet_jax.runtime import parallel, processes
from unet_jax.runtime.memory import prediction_budget, to_bytes
from unet_jax.runtime.out_of_memory import check_free
from unet_jax.tracking.curves import Curves
from unet_jax.tracking.meter import Meter
from unet_jax.tracking.metrics_file import MetricWriter
from unet_jax.tracking.profiler import Profile
from unet_jax.tracking.progress import Progress
from unet_jax.tracking.tensorboard import TensorBoardWriter, check_tensorboard
from unet_jax.training.state import TrainState, count_parameters


@dataclasses.dataclass
class TrainingRun:
    """An opened run. The loop replaces `state` at every step, `p_step` and `measure_peak` once; all else stays.

    Attributes:
      config: the config of the run.
      workdir: the run's folder.
      devices: the devices to run on; None for all local ones.
      memory: the bytes that an evaluation may take; the same in all processes, and after a resume on another machine.
      parts: the parts of the experiment that the config describes.
      start_step: the number of steps done at the start.
      num_steps: the number of steps at the end.
      eval_every: steps from one evaluation to the next.
      save_every: steps from one checkpoint to the next, in addition to those of evaluations; 0 for none.
      log_every: steps from one row of metrics.jsonl to the next.
      patience: evaluations without a better score that end the run; 0 for no limit.
      val_can_choose: False where no image of val shows a class that is scored.
      finished: True where no step is left to take.
      state: the state, replicated on the devices.
      p_step: `(state, batch) -> (state, metrics)`; the loop compiles it with the first batch.
      batches: the batches of all steps after `start_step`; this process's rows of them.
      val_source: the examples of val, decoded once.
      check: raises an error where the workdir is no longer held.
      stop: set by a signal.
      any_process: says whether a signal came in any process.
      checkpointer: saves states.
      writer: writes metrics.jsonl.
      meter: sums up metrics and times.
      curves: draws metrics.jsonl.
      progress: the bar and the lines on the screen.
      profile: traces steps.
      tensorboard: None without `train.tensorboard`, and in all processes except the first.
      measure_peak: measures the speed of a matrix product for the meter; set by the loop when the step is compiled.
    """

    config: ConfigDict
    workdir: Path
    devices: Sequence[jax.Device] | None
    memory: int
    parts: Experiment
    start_step: int
    num_steps: int
    eval_every: int
    save_every: int
    log_every: int
    patience: int
    val_can_choose: bool
    finished: bool
    state: TrainState
    p_step: Callable
    batches: Iterator[dict]
    val_source: InMemory
    check: Callable[[], None]
    stop: StopSignal
    any_process: parallel.AnyProcessFlag
    checkpointer: Checkpointer
    writer: MetricWriter
    meter: Meter
    curves: Curves
    progress: Progress
    profile: Profile
    tensorboard: TensorBoardWriter | None
    measure_peak: Callable[[], None] = lambda: None


@contextlib.contextmanager
def open_training_run(
    config: ConfigDict,
    workdir: str | os.PathLike,
    *,
    devices: Sequence[jax.Device] | None = None,
    profile_steps: str = "",
    check: Callable[[], None] = lambda: None,
) -> Iterator[TrainingRun]:
    """Checks the config, makes or checks the workdir, restores or initialises the state, and opens what records the run.

    Everything is closed when the context ends. Closing the checkpointer waits for the last save. Until then a signal is
    noticed.

    Args:
      config: a config with the keys of `configs/default.py`.
      workdir: the run's folder.
      devices: the devices to run on; all local ones by default.
      profile_steps: "FIRST:LAST" of the steps to trace, "" for none.
      check: raises an error where the workdir is no longer held (`hold.py`); called before each step and each save.

    Raises:
      UserError: bad input.
      MemoryError: the state and the images of one batch are larger than the free memory of this machine.
    """
    # Before the data are prepared, which may take long.
    shared_workdir.check_same_job(config, devices)
    profile = Profile(profile_steps)
    check_tensorboard(read_sections(config).train.tensorboard)
    parts = build_experiment(config, devices)
    # Making a state or a batch that does not fit may end the process without an error.
    check_free(parts.least_bytes(processes.process_count()))
    train, num_steps, eval_every = config.train, parts.durations.num_steps, parts.durations.eval_every
    train_source = parts.dataset.source("train")
    val_source = InMemory(parts.dataset.source("val"), parts.loading_options["cache_bytes"])
    chooses = val_can_choose(parts, val_source)
    patience = train.patience if chooses else 0
    folder = shared_workdir.open_shared_workdir(workdir, config, parts.dataset, num_steps)
    metrics_path = folder / "metrics.jsonl"

    with contextlib.ExitStack() as stack:
        # Entered first, so closed last: a signal during the last save is noticed too.
        stop = stack.enter_context(StopSignal())
        checkpointer = stack.enter_context(
            Checkpointer(folder / "checkpoints", latest=config.checkpoint.latest, check=check)
        )
        start_step, state, origin = _initial_state(config, parts, checkpointer)
        memory = processes.on_process_0(lambda: _evaluation_memory(config, folder, devices))
        ended_early = start_step < num_steps and processes.on_process_0(
            lambda: out_of_patience(metrics_path, patience, step=start_step, every=eval_every)
        )
        finished = ended_early or start_step >= num_steps
        curves = Curves(folder)
        if not finished:
            processes.on_process_0(lambda: checkpointer.clear_the_way(start_step + 1, num_steps))
            add_start(folder, start_step, memory=memory, **origin, imports=config.get("imports", ()))
            stack.callback(_draw_last, curves, check)
            _warn_of_little_room(checkpointer, state, config.checkpoint.latest)
        progress = stack.enter_context(contextlib.closing(Progress(start_step, num_steps)))
        names = channel_names(parts.module, parts.dataset.class_names)
        tensorboard = None
        if train.tensorboard and not finished and processes.process_index() == 0:
            tensorboard = TensorBoardWriter(
                folder / "tensorboard",
                start_step,
                val_source,
                class_names=names,
                report_classes=parts.report_classes,
                palette=parts.dataset.palette,
            )
            stack.callback(tensorboard.close)
        also = tensorboard.write_row if tensorboard else None
        writer = MetricWriter(metrics_path, start_step, also=also, check=check)
        meter = Meter(names, parts.report_classes, train.batch_size)
        profile.prepare(folder, start_step, num_steps, progress.print)
        stack.callback(profile.close)
        if not chooses:
            progress.print(describe_no_choice(parts))
        for line in _opening_lines(
            config, parts, state, folder, start_step, devices, finished=finished, ended_early=ended_early
        ):
            progress.print(line)
        # All processes start from one state. Copies that differ at the start would differ to the end.
        state = parallel.replicate(parallel.broadcast(state), devices)
        batches = train_pipeline.train_batches(
            train_source,
            batch_size=train.batch_size,
            seed=config.seed,
            start_step=start_step,
            process_index=processes.process_index(),
            process_count=processes.process_count(),
            **parts.loading_options,
        )
        yield TrainingRun(
            config=config,
            workdir=folder,
            devices=devices,
            memory=memory,
            parts=parts,
            start_step=start_step,
            num_steps=num_steps,
            eval_every=eval_every,
            save_every=config.checkpoint.every,
            log_every=train.log_every,
            patience=patience,
            val_can_choose=chooses,
            finished=finished,
            state=state,
            p_step=parallel.pmap_step(parts.create_step(), devices),
            batches=batches,
            val_source=val_source,
            check=check,
            stop=stop,
            any_process=parallel.AnyProcessFlag(),
            checkpointer=checkpointer,
            writer=writer,
            meter=meter,
            curves=curves,
            progress=progress,
            profile=profile,
            tensorboard=tensorboard,
        )


def _draw_last(curves: Curves, check: Callable[[], None]) -> None:
    try:
        check()
    except UserError:
        # Another process holds the workdir by now, and this error ends the run already.
        return
    curves.draw()


def _initial_state(config: ConfigDict, parts: Experiment, checkpointer: Checkpointer) -> tuple[int, TrainState, dict]:
    """Returns the number of steps done, the state after them, and the origin of a state of step 0 for `add_start`."""
    start_step = processes.on_process_0(lambda: checkpointer.latest_step() or 0)
    # A resumed run has weights already.
    encoder_weights = "" if start_step else config.model.get("encoder_weights", "")
    state = parts.create_state(encoder_weights)
    init_from: dict[str, Any] = {}
    if start_step:
        start_step, state = restore_latest(checkpointer, state)
    elif config.train.init_from:
        state, init_from = initialize_from(state, parts.tx, config.train.init_from)
    return start_step, state, {"init_from": init_from, "encoder_weights": encoder_weights}


def _evaluation_memory(config: ConfigDict, workdir: Path, devices: Sequence[jax.Device] | None) -> int:
    """Returns the bytes that an evaluation may take: of the config, of the run's start, or the default of this machine."""
    if config.eval.memory:
        return to_bytes(config.eval.memory)
    return int(recorded_memory(workdir) or prediction_budget(parallel.local_devices(devices)))


def _warn_of_little_room(checkpointer: Checkpointer, state: TrainState, latest: int) -> None:
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    disk_space.warn_if_disk_is_small(checkpointer.directory, size, latest, saved=len(checkpointer.steps()))


def _opening_lines(config, parts, state, workdir, start_step, devices, *, finished, ended_early) -> list[str]:
    """Returns the lines to print before the first step: network, data, devices, durations, class weights."""
    splits = ", ".join(f"{split} {size}" for split, size in parts.dataset.splits.items())
    where = f"going on from step {start_step} in {workdir}" if start_step else f"into {workdir}"
    lines = [
        f"{config.model.name}, {count_parameters(state.params):,} parameters, {config.data.name} ({splits}), "
        f"{parallel.num_devices(devices)} device(s), {where}",
        *parts.durations.lines,
    ]
    if ended_early:
        lines.append(
            f"the run has ended: its last {config.train.patience} scores are no better than the best before them; to go on, set "
            "train.patience to 0 or to more evaluations"
        )
    if start_step and not finished and (note := note_of_change(workdir, start_step)):
        lines.append(note)
    unrecorded = describe_unrecorded(config)
    if unrecorded:
        lines.append(
            f"note: {unrecorded}: this program has added it, and config.imports names no file that does; add it before you "
            "open the run in another program"
        )
    if config.loss.class_weighting:
        names = channel_names(parts.module, parts.dataset.class_names)
        weights = ", ".join(f"{name} {weight:.4g}" for name, weight in zip(names, parts.class_weights, strict=True))
        lines.append(f"class weights by {config.loss.class_weighting} frequency: {weights}")
    return lines
