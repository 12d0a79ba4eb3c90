"""Scores a run's state on val, and saves that same state."""

from unet_jax.evaluation.evaluate import evaluate
from unet_jax.runs.load import create_predictor
from unet_jax.runs.training_run import TrainingRun
from unet_jax.runs.workdir import data_facts
from unet_jax.runtime import parallel, processes
from unet_jax.runtime.out_of_memory import OutOfMemory
from unet_jax.training.optim.plateau import observe_score
from unet_jax.training.state import TrainState


def evaluate_and_save(run: TrainingRun, step: int, *, scored: bool) -> None:
    """Saves `run.state`, after scoring it on val.

    The state is copied to the host once, so the state that is scored is the state that is saved. With the schedule
    "plateau" the score also changes `run.state`.

    A state whose scoring fails is saved without a score. The same command scores it first; see `score_what_is_left`.

    Args:
      run: the run.
      step: the number of steps done.
      scored: False saves without scoring.

    Raises:
      OutOfMemory: an image of val does not fit into the memory.
    """
    host_state = parallel.to_host(run.state)
    try:
        score = _score_on_val(run, step, host_state) if scored else None
    except Exception as error:
        run.checkpointer.save(step, host_state)
        if isinstance(error, OutOfMemory):
            raise OutOfMemory(
                f"step {step}: val cannot be scored: {error}. The state is saved without a score in {run.workdir}; the same "
                "command scores it first, and goes on where it fits, or with more eval.memory"
            ) from error
        raise
    if run.parts.plateau and run.val_can_choose and score is not None and step % run.eval_every == 0:
        plateau = observe_score(run.parts.plateau, host_state.plateau, score)
        host_state = host_state.replace(plateau=parallel.to_host(plateau))
        run.state = run.state.replace(plateau=parallel.replicate(plateau, run.devices))
    run.checkpointer.save(step, host_state, score)
    if scored:
        run.curves.draw()


def score_what_is_left(run: TrainingRun) -> None:
    """Scores the state that the run goes on from, where its scoring has failed before; see `evaluate_and_save`.

    So the run goes on as if it had never stopped: its scores, and with the schedule "plateau" its rates, are the same.

    Args:
      run: an opened run, before its first step.

    Raises:
      OutOfMemory: as for `evaluate_and_save`.
    """
    step = run.start_step
    due = step > 0 and (step % run.eval_every == 0 or step == run.num_steps)
    if due and not processes.on_process_0(lambda: run.checkpointer.is_scored(step)):
        run.progress.print(f"step {step}: saved without a score; scoring it now")
        evaluate_and_save(run, step, scored=True)


def _score_on_val(run: TrainingRun, step: int, state: TrainState) -> float:
    """Scores the weights, and their moving average if there is one; returns the score that `eval.weights` asks for."""
    summaries = {}
    for split, variables in state.variables_to_score(run.config.eval.weights).items():
        predictor = create_predictor(
            run.config,
            run.parts.module,
            data_facts(run.parts.dataset),
            variables,
            memory=run.memory,
            devices=run.devices,
        )
        on_image = run.tensorboard.keep_masks if run.tensorboard else None
        summaries[split], _ = evaluate(
            predictor, run.val_source, batch_size=run.config.eval.batch_size, on_image=on_image
        )
        if run.tensorboard:
            run.tensorboard.write_pictures(step, split)
    # Written last: where something above fails, all is scored again, and no row may be there twice.
    for split, summary in summaries.items():
        run.writer.write(step, split, summary)
        classes = ", ".join(run.parts.report_classes)
        run.progress.print(f"step {step}: mean IoU {summary['iou_pooled/mean']:.4f} on {split} ({classes})")
    return summaries["val"]["iou_pooled/mean"]
