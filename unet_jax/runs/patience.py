"""The end of a run whose score on val no longer rises: `train.patience`."""

import math

from etils.epath import Path

from unet_jax.tracking.metrics_file import read_metrics


def out_of_patience(metrics_path: Path, patience: int, *, step: int, every: int) -> bool:
    """Returns True if the last `patience` scores on val up to `step` are no better than the best before them.

    The scores are read from metrics.jsonl, so a resumed run decides as one that was never interrupted. A score counts only
    if its step is a multiple of `every`. A run that was made longer also has a score at its former end; a run that had
    that length from the start has none there.

    Args:
      metrics_path: the run's metrics.jsonl.
      patience: number of scores; 0 for no limit.
      step: the step reached.
      every: steps from one evaluation to the next.
    """
    scores = []
    for row in read_metrics(metrics_path):
        if row["split"] == "val" and row["step"] <= step and row["step"] % every == 0:
            score = row.get("iou_pooled/mean")
            scores.append(-math.inf if score is None else score)
    return 0 < patience < len(scores) and max(scores[-patience:]) <= max(scores[:-patience])
