"""Prunes a run of U-Net++: scores and times every level, and writes the smallest one that is good enough."""

import os
from typing import Any

import jax
from etils.epath import Path

from unet_jax.analysis.compare.estimate import difference
from unet_jax.analysis.prune import extract, levels, report
from unet_jax.analysis.results import write_results
from unet_jax.data.dataset import Dataset
from unet_jax.data.store.sources import InMemory
from unet_jax.errors import UserError
from unet_jax.evaluation import intervals
from unet_jax.evaluation.evaluate import evaluate
from unet_jax.inference.forward import select_heads
from unet_jax.runs import loop, score
from unet_jax.runs import workdir as folder
from unet_jax.runs.load import open_run


def prune(
    workdir: str | os.PathLike,
    *,
    max_iou_drop: float = 0.5,
    split: str = "val",
    mode: str = "",
    level: int = 0,
    rounds: int = 40,
    out: str | os.PathLike = "",
    overwrite: bool = False,
    root: str = "",
    retrain: bool = False,
    dataset: Dataset | None = None,
) -> dict[str, Any]:
    """Compares the levels of a run, prints a table, and writes the chosen level as a workdir, with the comparison.

    Scores are those of the best checkpoint on `split`, on all local devices. Times are of one image on the first device.

    Args:
      workdir: folder of a run of U-Net++, trained with deep supervision.
      max_iou_drop: points of pooled mean IoU that the level may lie below the deepest one in the same mode.
      split: the split to score; a level chosen on test makes its score there too good.
      mode: "accurate" or "fast": the mode in which levels are compared and the pruned network predicts; "" for the run's
        `eval.mode`.
      level: the level to write; 0 for the level that the rule chooses.
      rounds: the number of times that each level is timed in each mode.
      out: folder to write into; "" for WORKDIR/pruned-levelN.
      overwrite: replaces a pruned network in that folder.
      root: folder of the data set; "" if it is where the config says.
      retrain: also trains that level alone, into WORKDIR/retrained-levelN-MODE, and compares the two.
      dataset: the run's data set, if it is already open.

    Returns:
      The content of `prune.json`.

    Raises:
      UserError: `max_iou_drop` is not from 0 to 100, the network has no levels, the mode, level or split is unknown, or
        the folder is not free. All of this is found before anything is timed.
    """
    run_dir = folder.resolve(workdir)
    if not 0 <= max_iou_drop <= 100:
        raise UserError(
            f"max_iou_drop={max_iou_drop}: give the points of IoU that may be lost, from 0 to 100, such as 0.5"
        )
    if out:
        extract.check_free(out, overwrite)
    run = open_run(run_dir, mode="accurate")
    mode = mode or run.config.eval.mode
    deepest = levels.deepest(run.predictor.module)
    # Raises an error if the mode or level is unknown.
    select_heads(run.predictor.module, mode, level)
    dataset = dataset or score.open_dataset(run, run_dir, root)
    # Images are decoded once and scored often.
    source = InMemory(dataset.source(split), run.config.data.cache_bytes)
    predictors = levels.create_predictors(run.predictor)
    print(f"scoring {len(source)} images of {split} at {deepest} levels in two modes, then timing them", flush=True)
    batch_size = run.config.eval.batch_size
    scored = {key: evaluate(predictor, source, batch_size=batch_size) for key, predictor in predictors.items()}
    scores = {key: levels.scores(predictors[key], scored[key][1]) for key in predictors}

    iou = {k: scores[k, mode]["iou_pooled"] for k in range(1, deepest + 1)}
    chosen, reason = levels.choose(iou, max_iou_drop)
    if level:
        reason = f"--level={level} was given; the rule chooses level {chosen}: {reason}"
    chosen = level or chosen
    place = folder.resolve(out or run_dir / f"pruned-level{chosen}")
    extract.check_free(place, overwrite)

    device = jax.local_devices()[0]
    images, num_of_size = levels.timing_images(source, run.predictor, rounds)
    measured = levels.measure(predictors, images, rounds, device)
    whole = measured[deepest, "fast"]
    memory = levels.node_memory(predictors[deepest, "fast"], images[0].shape, device)
    result: dict[str, Any] = {
        "workdir": str(run_dir),
        "step": run.step,
        "split": split,
        "num_images": len(source),
        "num_groups": len({row["group"] for row in scored[deepest, mode][1]}),
        "classes": list(run.predictor.report_classes),
        "interval": intervals.METHOD,
        "image_size": list(images[0].shape),
        "num_images_of_size": num_of_size,
        "num_images_timed": len(images),
        "rounds": rounds,
        "device": device.device_kind,
        "mode": mode,
        "max_iou_drop": max_iou_drop,
        "level": chosen,
        "reason": reason,
        "levels": [{"level": k, "mode": m, **measured[k, m], **scores[k, m]} for k, m in predictors],
        "memory": {"held_bytes": whole["temporary_bytes"] + whole["output_bytes"], **memory},
        "versions": folder.versions(),
    }
    print(report.text(result), flush=True)
    extract.write(
        run_dir,
        place,
        level=chosen,
        mode=mode,
        step=run.step,
        score=iou[chosen],
        overwrite=overwrite,
        split=split,
        max_iou_drop=max_iou_drop,
    )
    written = report.write(result, place)
    print(f"\npruned network  {place}\ntable and plot  {', '.join(map(str, written))}", flush=True)
    if retrain:
        result["retrained"] = _retrain(run, run_dir, chosen, mode, root, source, scored[chosen, mode][1])
        print(f"\n{report.comparison(result)}")
        write_results(place, {"prune.json": result})
    return result


def _retrain(run, workdir: Path, level: int, mode: str, root: str, source, embedded) -> dict[str, Any]:
    """Trains the level alone with the run's config, and compares it with the level of the whole network.

    `embedded` are the rows of `evaluate` for that level of the whole network on `source`.
    """
    alone_dir = workdir / f"retrained-level{level}-{mode}"
    config = extract.level_config(score.config_with_root(run, root), level, mode)
    # The start must not come from a network that was trained with other levels.
    config.train.init_from = ""
    loop.train_and_evaluate(config, alone_dir)
    alone_run = open_run(alone_dir, mode=mode)
    predictor = alone_run.predictor
    _, alone = evaluate(predictor, source, batch_size=run.config.eval.batch_size)
    first, second = (levels.left_out(predictor, rows)["pooled"] for rows in (alone, embedded))
    # On the same images, their difficulty cancels.
    gap, low, high = difference(first, second, same_seeds=True)
    return {
        "workdir": str(alone_dir),
        "step": alone_run.step,
        "level": level,
        "mode": mode,
        **levels.scores(predictor, alone),
        "embedded_minus_alone": gap,
        "embedded_minus_alone_low": low,
        "embedded_minus_alone_high": high,
    }
