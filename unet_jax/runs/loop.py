"""The training loop, and `train_and_evaluate`: from a config to a trained and scored network in a folder."""

import os
from collections.abc import Sequence

import jax
from ml_collections import ConfigDict

from unet_jax.errors import UserError
from unet_jax.experiment.imports import kept
from unet_jax.runs.evaluate_and_save import evaluate_and_save, score_what_is_left
from unet_jax.runs.hold import hold
from unet_jax.runs.patience import out_of_patience
from unet_jax.runs.score import score_run
from unet_jax.runs.stop_signal import Interrupted
from unet_jax.runs.training_run import TrainingRun, open_training_run
from unet_jax.runs.workdir import resolve
from unet_jax.runtime import parallel, processes
from unet_jax.runtime.compile_notice import compile_notice
from unet_jax.runtime.out_of_memory import check_fits, report_out_of_memory
from unet_jax.runtime.roofline import peak_meter, step_flops
from unet_jax.storage import paths

REMEDY = "give a smaller train.batch_size or data.patch, a larger optim.accumulate, or model.remat"


def train_and_evaluate(
    config: ConfigDict,
    workdir: str | os.PathLike,
    *,
    devices: Sequence[jax.Device] | None = None,
    profile_steps: str = "",
) -> dict[str, float]:
    """Trains what `config` describes, from the workdir's latest checkpoint if it has one, and scores the best state.

    A run without a checkpoint starts from the initialisation, or from another run's network (`train.init_from`).

    Every `train.eval_every` steps, and after the last step, the network is scored on val and that very state is saved. A
    run that keeps a moving average of its weights scores both, and `eval.weights` chooses the score that counts. After
    `train.patience` scores without a better one the run ends early. At the end the best checkpoint is scored on test, with
    pictures; without a test split it is scored on val.

    Args:
      config: a config with the keys of `configs/default.py`.
      workdir: the run's folder; see `runs/workdir.py`.
      devices: the devices to run on; all local ones by default.
      profile_steps: "FIRST:LAST" of the steps to trace; see `tracking/profiler.py`.

    Returns:
      The summary of that last evaluation, by the names of `evaluation/metrics.py`.

    Raises:
      UserError: another process holds the workdir; bad input, before the first step; or NaN or infinity in loss or gradient. The step is named.
      Interrupted: on Ctrl-C or SIGTERM, after saving.
    """
    folder = resolve(workdir)
    if processes.process_count() == 1:
        # A link such as runs/latest may be led to another run before this one ends. Several machines may mount the target
        # in different places.
        folder = paths.real(folder)
    with hold(folder) as held, kept(config.get("imports", ())):
        opened = open_training_run(config, folder, devices=devices, profile_steps=profile_steps, check=held.check)
        with report_out_of_memory(f"training with {_sizes(config)}", REMEDY, devices), opened as run:
            score_what_is_left(run)
            last_step = run.start_step if run.finished else train(run)
        # A signal may have come during the last evaluation or save.
        if any(processes.gather(run.stop.requested)):
            raise Interrupted(
                f"stopped after step {last_step}, the last, before the best checkpoint was scored; the run is saved in {run.workdir}"
            )
        held.check()
        return score_run(run.workdir, dataset=run.parts.dataset, devices=devices)


def train(run: TrainingRun) -> int:
    """Takes the steps from `run.start_step` to the end; evaluates and saves between them.

    A step is dispatched before the metrics of the step before it are fetched, so the host prepares while the devices work.

    Args:
      run: an opened run; its state is replaced.

    Returns:
      The number of the last step.

    Raises:
      UserError: loss, gradient or weights are not finite.
      Interrupted: on Ctrl-C or SIGTERM, after saving.
    """
    step, unread = run.start_step, None
    while step < run.num_steps:
        run.check()
        step += 1
        with run.meter.waiting_for_data():
            batch = parallel.shard(next(run.batches), run.devices)
        if step == run.start_step + 1:
            _compile_step(run, batch)
        with run.profile.around(step):
            run.state, step_metrics = run.p_step(run.state, batch)
        with run.meter.paused():
            run.profile.after(step, step_metrics)
        if unread:
            _record(run, *unread)
        unread = step, step_metrics

        stopping = run.any_process(run.stop.requested)
        scored = step == run.num_steps or step % run.eval_every == 0
        saved = scored or stopping or (run.save_every and step % run.save_every == 0)
        # A save ends a row of metrics.jsonl, because a run that resumes from the checkpoint starts a new row.
        if saved or step % run.log_every == 0:
            _record(run, *unread)
            unread = None
            _write_row(run, step)
        if saved:
            with run.meter.paused():
                evaluate_and_save(run, step, scored=scored)
                run.measure_peak()
        if stopping:
            run.checkpointer.wait()
            raise Interrupted(f"stopped at step {step} of {run.num_steps} and saved in {run.workdir}")
        if scored and step < run.num_steps and _out_of_patience(run, step):
            break
    run.writer.write(step, "run", run.meter.totals())
    run.progress.print(run.meter.describe())
    return step


def _sizes(config: ConfigDict) -> str:
    """Returns the options that the memory of a training step depends on, for a message."""
    return (
        f"train.batch_size={config.train.batch_size}, data.patch={tuple(config.data.patch)}, "
        f"optim.accumulate={config.optim.accumulate}"
    )


def _compile_step(run: TrainingRun, batch) -> None:
    with run.meter.compiling(), compile_notice("the training step"):
        run.p_step = parallel.compile_step(run.p_step, run.state, batch)
    check_fits(run.p_step, parallel.local_devices(run.devices))
    with run.meter.paused():
        flops = step_flops(run.p_step, accumulate=run.config.optim.accumulate, devices=run.devices)
        if flops > 0:
            measure = peak_meter(run.config.model.dtype, run.devices)
            run.measure_peak = lambda: run.meter.add_peak(flops, measure())
        run.measure_peak()


def _record(run: TrainingRun, step: int, step_metrics) -> None:
    """Fetches the metrics of a step and adds them up; raises UserError where they are not finite."""
    step_metrics = parallel.to_host(step_metrics)
    if not step_metrics["finite"]:
        raise UserError(
            f"step {step}: loss {step_metrics['loss']}, gradient norm {step_metrics['grad_norm']}: one of them, or a weight "
            f"after the step, is NaN or infinite. The run stops; its last good checkpoint is of step "
            f"{run.checkpointer.latest_step() or 'none'}. Lower optim.learning_rate or set optim.grad_clip, and give another "
            "--workdir"
        )
    run.meter.add(step_metrics)
    run.progress.update(run.meter)


def _write_row(run: TrainingRun, step: int) -> None:
    run.writer.write(step, "train", run.meter.read_window())
    with run.meter.paused():
        run.curves.draw_if_due()


def _out_of_patience(run: TrainingRun, step: int) -> bool:
    """Returns True, and prints a line, if the run has to end at this evaluation (`train.patience`)."""
    ended = processes.on_process_0(
        lambda: out_of_patience(run.writer.path, run.patience, step=step, every=run.eval_every)
    )
    if ended:
        run.progress.print(f"step {step}: no better score in {run.patience} evaluations, so the run ends here")
    return ended
