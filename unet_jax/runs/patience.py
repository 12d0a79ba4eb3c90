"""The end of a run whose score on val no longer rises: `train.patience`."""

import math

from unet_jax.tracking.metrics_file import read_metrics


def out_of_patience(metrics_path, patience: int, *, step: int, every: int) -> bool:
    """Returns True if the last `patience` scores on val up to `step` are no better than the best before them.

    The scores are read from metrics.jsonl, so a resumed run decides as one that was never interrupted. A score counts only
    if its step is a multiple of `every`: a run that was made longer has a score at its former end, and a run that was
    never interrupted has none there.

    Args:
      metrics_path: the run's metrics.jsonl.
      patience: number of scores; 0 for no limit.
      step: the step reached.
      every: steps between two evaluations.
    """
    scores = []
    for row in read_metrics(metrics_path):
        if row["split"] == "val" and row["step"] <= step and row["step"] % every == 0:
            score = row["iou_pooled/mean"]
            scores.append(-math.inf if score is None else score)
    return 0 < patience < len(scores) and max(scores[-patience:]) <= max(scores[:-patience])
