"""The loop: from a config to a trained and scored network in a folder. It reads from top to bottom."""

import contextlib
import functools
import math
import signal
import sys
import threading

import jax
from etils.epath import Path
from ml_collections import ConfigDict

from unet_jax.runtime import parallel
from unet_jax.data.loading import pipeline
from unet_jax.errors import UserError
from unet_jax.evaluation.evaluate import evaluate
from unet_jax.tracking import tensorboard
from unet_jax.checkpoints import disk_space
from unet_jax.experiment import build
from unet_jax.training.optim import plateau
from unet_jax.runs import shared_workdir
from unet_jax.experiment.build import build_experiment
from unet_jax.experiment.build import channel_names
from unet_jax.tracking.tensorboard import check_tensorboard
from unet_jax.training.optim.plateau import observe_score
from unet_jax.runs import workdir as folder
from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.tracking.curves import Curves
from unet_jax.runs.load import create_predictor
from unet_jax.tracking.profiler import Profile
from unet_jax.checkpoints.recover import restore_latest
from unet_jax.runs.score import score_run
from unet_jax.runtime.roofline import step_and_peak_flops
from unet_jax.runs.warm_start import initialize_from
from unet_jax.training.state import count_parameters
from unet_jax.tracking.meter import Meter
from unet_jax.tracking.metrics_file import MetricWriter
from unet_jax.tracking.progress import Progress
from unet_jax.tracking.metrics_file import read_metrics


class Interrupted(Exception):
    """The run was told to stop (Ctrl-C or SIGTERM) and has saved its state; the same command goes on from there."""


def train_and_evaluate(config: ConfigDict, workdir, *, devices=None, profile_steps: str = "") -> dict[str, float]:
    """Trains what `config` describes, from the workdir's latest checkpoint if it has one, and scores the best state.

    A workdir without a checkpoint starts from the initialisation, or from another run's network (`train.init_from`).

    Every `train.eval_every` steps, and after the last, the network is scored on val and that very state is saved; a run
    that keeps a moving average of its weights scores both, and `eval.weights` says whose score counts. After
    `train.patience` such scores without a better one the run ends early. At the end the best checkpoint is scored on test
    (on val, and it is said, where there is no test split), with pictures.

    Args:
      config: as of `configs/default.py`.
      workdir: the run's folder; see `runs/workdir.py`.
      devices: to run on; all local ones by default.
      profile_steps: "FIRST:LAST" of the steps to trace; see `tracking/profiler.py`.

    Returns:
      The summary of that last evaluation, by the names of `evaluation/metrics.py`.

    Raises:
      UserError: bad input, before the first step; or NaN or Inf in loss or gradient, with the step named.
      Interrupted: on Ctrl-C or SIGTERM, after saving.
    """
    parallel.on_process_0(lambda: disk_space.check_writable(folder.resolve(workdir)))  # first: preparing the data may take long
    profile = Profile(profile_steps)
    check_tensorboard(config.train.tensorboard)
    parts = build_experiment(config, devices)
    module, dataset, train, durations = parts.module, parts.dataset, config.train, parts.durations
    train_source = dataset.source("train")
    val_source = pipeline.InMemory(dataset.source("val"), parts.reading["cache_bytes"])  # decoded once, scored often
    workdir = shared_workdir.open_shared_workdir(workdir, config, dataset, durations.num_steps)

    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(StopSignal())  # outermost: the last save, which closing waits for, is guarded too
        checkpointer = stack.enter_context(Checkpointer(workdir / "checkpoints", latest=config.checkpoint.latest))
        start_step, origin = parallel.on_process_0(lambda: checkpointer.latest_step() or 0), {}
        weights = "" if start_step else config.model.get("encoder_weights", "")  # a resumed run has its own
        state = parts.create_state(weights)
        if start_step:
            start_step, state = restore_latest(checkpointer, state)
        elif train.init_from:
            state, origin = initialize_from(state, parts.tx, train.init_from)
        path, curves = workdir / "metrics.jsonl", Curves(workdir)
        ended_early = start_step < durations.num_steps and parallel.on_process_0(
            lambda: _out_of_patience(path, train.patience, start_step, durations.eval_every)
        )
        finished = ended_early or start_step >= durations.num_steps
        if not finished:
            folder.add_start(workdir, start_step, init_from=origin, encoder_weights=weights)
            stack.callback(curves.draw)
            size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
            disk_space.warn_if_disk_is_small(
                checkpointer.directory, size, config.checkpoint.latest, saved=len(checkpointer.steps())
            )
        progress = stack.enter_context(contextlib.closing(Progress(start_step, durations.num_steps)))
        names, events = channel_names(module, dataset.class_names), None
        if train.tensorboard and not finished and parallel.process_index() == 0:
            events = tensorboard.TensorBoardWriter(
                workdir / "tensorboard",
                start_step,
                val_source,
                class_names=names,
                report_classes=parts.report_classes,
                palette=dataset.palette,
            )
            stack.callback(events.close)
        writer = MetricWriter(path, start_step, also=events.scalars if events else None)
        meter = Meter(names, parts.report_classes, train.batch_size)
        profile.prepare(workdir, start_step, durations.num_steps, progress.print)
        stack.callback(profile.close)
        progress.print(
            f"{config.model.name}, {count_parameters(state.params):,} parameters, {config.data.name} ("
            + ", ".join(f"{split} {size}" for split, size in dataset.splits.items())
            + f"), {parallel.num_devices(devices)} device(s), "
            + (f"going on from step {start_step} in {workdir}" if start_step else f"into {workdir}")
        )
        for line in durations.lines:
            progress.print(line)
        if ended_early:
            progress.print(
                f"the run has ended: its last {train.patience} scores are no better than the best before them "
                "(train.patience); with 0 it goes on, with a higher one perhaps"
            )
        if config.loss.class_weighting:
            weighed = zip(channel_names(module, dataset.class_names), parts.class_weights, strict=True)
            listed = ", ".join(f"{name} {weight:.4g}" for name, weight in weighed)
            progress.print(f"class weights by {config.loss.class_weighting} frequency: {listed}")
        state = parallel.replicate(parallel.broadcast(state), devices)  # copies that start apart would stay apart
        p_step = parallel.pmap_step(parts.create_step(), devices)
        batches = pipeline.train_batches(
            train_source,
            batch_size=train.batch_size,
            seed=config.seed,
            start_step=start_step,
            process_index=parallel.process_index(),
            process_count=parallel.process_count(),
            **parts.reading,
        )
        any_process = parallel.AnyProcessFlag()

        def record(step: int, step_metrics) -> None:
            step_metrics = parallel.to_host(step_metrics)
            if not step_metrics["finite"]:
                raise UserError(
                    f"step {step}: loss {step_metrics['loss']}, gradient norm {step_metrics['grad_norm']}: NaN or infinite "
                    f"there or in the weights after it; the run stops, its last good checkpoint is step {checkpointer.latest_step() or 'none'}. Lower "
                    "optim.learning_rate or set optim.grad_clip, and start into another --workdir"
                )
            meter.add(step_metrics)
            progress.update(meter)

        in_flight, step = None, start_step
        while not finished:
            step += 1
            with meter.waiting_for_data():
                batch = parallel.shard(next(batches), devices)
            if step == start_step + 1:
                with meter.compiling():
                    p_step = parallel.compile_step(p_step, state, batch)
                with meter.paused():
                    accumulate = config.optim.accumulate
                    meter.set_roof(
                        *step_and_peak_flops(p_step, dtype=config.model.dtype, accumulate=accumulate, devices=devices)
                    )
            with profile.around(step):
                state, step_metrics = p_step(state, batch)
            with meter.paused():
                profile.after(step, step_metrics)
            if in_flight:
                record(*in_flight)  # of the step before: the host prepares the next while the devices work
            in_flight = (step, step_metrics)

            last, stopping = step == durations.num_steps, any_process(stop.requested)
            score = last or step % durations.eval_every == 0
            save = score or stopping or (config.checkpoint.every and step % config.checkpoint.every == 0)
            if save or step % train.log_every == 0:  # a save ends a row: what goes on from it begins one, too
                record(*in_flight)
                in_flight = None
                writer.write(step, "train", meter.read_window())
                with meter.paused():
                    curves.draw_if_due()
            if save:
                with meter.paused():
                    host_state = parallel.to_host(state)  # one copy: what is scored is what is saved
                    result = None
                    for split, variables in host_state.scored(config.eval.weights).items() if score else ():
                        predictor = create_predictor(
                            config, module, folder.data_facts(dataset), variables, devices=devices
                        )
                        each = events.note if events else None
                        summary, _ = evaluate(predictor, val_source, batch_size=config.eval.batch_size, on_image=each)
                        writer.write(step, split, summary)
                        if events:
                            events.pictures(step, split)
                        mean = summary["iou_pooled/mean"]
                        result = mean if split == "val" else result
                        progress.print(f"step {step}: mean IoU {mean:.4f} on {split} ({', '.join(parts.report_classes)})")
                    if parts.plateau and step % durations.eval_every == 0:
                        told = observe_score(parts.plateau, host_state.plateau, result)
                        host_state = host_state.replace(plateau=parallel.to_host(told))
                        state = state.replace(plateau=parallel.replicate(told, devices))
                    checkpointer.save(step, host_state, result)
                    if score:
                        curves.draw()
            if stopping:
                checkpointer.wait()
                raise Interrupted(f"stopped at step {step} of {durations.num_steps} and saved in {workdir}")
            finished = last
            if (
                score
                and not last
                and parallel.on_process_0(
                    functools.partial(_out_of_patience, path, train.patience, step, durations.eval_every)
                )
            ):
                finished = True
                progress.print(f"step {step}: no better score in {train.patience} evaluations, so the run ends here")
        if step > start_step:
            writer.write(step, "run", meter.totals())
            progress.print(meter.describe())
    if any(parallel.gather(stop.requested)):  # in the last evaluation, or while its state was saved
        raise Interrupted(f"stopped after step {step}, the last, before the scoring; all is saved in {workdir}")
    return score_run(workdir, dataset=dataset, devices=devices)


def _out_of_patience(path: Path, patience: int, step: int, every: int) -> bool:
    """Whether the last `patience` scores on val up to `step` brought none above the best before them; with 0 never.

    Read from metrics.jsonl, so that a resumed run decides as one that was never stopped. The score at the end of a run
    that was made longer since does not count, unless it fell on an evaluation: one never stopped has none there.
    """
    rows = [row for row in read_metrics(path) if row["split"] == "val" and row["step"] <= step]
    rows = [row for row in rows if row["step"] % every == 0]
    scores = [-math.inf if row["iou_pooled/mean"] is None else row["iou_pooled/mean"] for row in rows]
    return 0 < patience < len(scores) and max(scores[-patience:]) <= max(scores[:-patience])


class StopSignal:
    """Turns the first Ctrl-C or SIGTERM into `requested`, looked at after each step; a second one acts at once."""

    def __init__(self):
        self.requested = False

    def _request(self, number, frame):
        self.requested = True
        print("\nstopping after this step, then saving (once more stops at once, without)", file=sys.stderr)
        self.__exit__()

    def __enter__(self):
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.signal(n, self._request) for n in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_):
        while self._before:
            signal.signal(*self._before.popitem())
