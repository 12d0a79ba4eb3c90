"""Scores a run's state on val, and saves that same state."""

from unet_jax.evaluation.evaluate import evaluate
from unet_jax.runs.load import create_predictor
from unet_jax.runs.training_run import TrainingRun
from unet_jax.runs.workdir import data_facts
from unet_jax.runtime import parallel
from unet_jax.training.optim.plateau import observe_score
from unet_jax.training.state import TrainState


def evaluate_and_save(run: TrainingRun, step: int, *, scored: bool) -> None:
    """Saves `run.state`, after scoring it on val.

    The state is copied to the host once, so the state that is scored is the state that is saved. With the schedule
    "plateau" the score also changes `run.state`.

    Args:
      run: the run.
      step: the number of steps done.
      scored: False saves without scoring.
    """
    host_state = parallel.to_host(run.state)
    score = _score_on_val(run, step, host_state) if scored else None
    if run.parts.plateau and score is not None and step % run.eval_every == 0:
        plateau = observe_score(run.parts.plateau, host_state.plateau, score)
        host_state = host_state.replace(plateau=parallel.to_host(plateau))
        run.state = run.state.replace(plateau=parallel.replicate(plateau, run.devices))
    run.checkpointer.save(step, host_state, score)
    if scored:
        run.curves.draw()


def _score_on_val(run: TrainingRun, step: int, state: TrainState) -> float:
    """Scores the weights, and their moving average if there is one; returns the score that `eval.weights` asks for."""
    scores = {}
    for split, variables in state.variables_to_score(run.config.eval.weights).items():
        predictor = create_predictor(
            run.config, run.parts.module, data_facts(run.parts.dataset), variables, devices=run.devices
        )
        on_image = run.tensorboard.keep_masks if run.tensorboard else None
        summary, _ = evaluate(predictor, run.val_source, batch_size=run.config.eval.batch_size, on_image=on_image)
        run.writer.write(step, split, summary)
        if run.tensorboard:
            run.tensorboard.write_pictures(step, split)
        scores[split] = summary["iou_pooled/mean"]
        classes = ", ".join(run.parts.report_classes)
        run.progress.print(f"step {step}: mean IoU {scores[split]:.4f} on {split} ({classes})")
    return scores["val"]
