"""Prunes a run of U-Net++: scores and times every level, and writes the smallest that is good enough."""

import jax
from etils.epath import Path

from unet_jax.analysis.prune import extract, levels, report
from unet_jax.analysis.results import write_results
from unet_jax.data.dataset import Dataset
from unet_jax.data.store.sources import InMemory
from unet_jax.errors import UserError
from unet_jax.evaluation import bootstrap
from unet_jax.evaluation.evaluate import evaluate
from unet_jax.inference.predictor import select_heads
from unet_jax.runs import loop, score
from unet_jax.runs import workdir as folder
from unet_jax.runs.load import open_run


def prune(
    workdir,
    *,
    max_iou_drop: float = 0.5,
    split: str = "val",
    mode: str = "",
    level: int = 0,
    rounds: int = 40,
    out="",
    overwrite: bool = False,
    root: str = "",
    retrain: bool = False,
    dataset: Dataset | None = None,
) -> dict:
    """Compares the levels of a run, prints a table, and writes the one chosen as a workdir with the comparison in it.

    Scores are those of the best checkpoint on `split`, on all local devices; times are of one image on the first of them.

    Args:
      workdir: of a U-Net++ trained with deep supervision.
      max_iou_drop: how many points of pooled mean IoU the level may lie below the deepest one, both in `mode`.
      split: to score; val, as a level chosen on test would make its score there too good.
      mode: in which levels are compared and the pruned network predicts; "" for the run's `eval.mode`.
      level: to write in place of the one that the rule chooses; 0 for that one.
      rounds: turns of each level and mode that are timed.
      out: folder to write into; "" for WORKDIR/pruned-levelN.
      overwrite: replace a pruned network that is there.
      root: the data set's folder, if it is not where the config says.
      retrain: also train that level alone, into WORKDIR/retrained-levelN-MODE, and compare the two.
      dataset: the run's data set, if it is open already.

    Returns:
      What `prune.json` holds.

    Raises:
      UserError: another network, no such mode, level or split, or a folder that is not free; before anything is timed.
    """
    workdir = folder.resolve(workdir)
    if not 0 <= max_iou_drop <= 100:
        raise UserError(
            f"max_iou_drop {max_iou_drop} is not from 0 to 100; give points of IoU that may be lost, such as 0.5"
        )
    if out:
        extract.check_free(out, overwrite)
    run = open_run(workdir, mode="accurate")
    mode = mode or run.config.eval.mode
    deepest = levels.deepest(run.predictor.module)
    select_heads(run.predictor.module, mode, level)  # raises where there is no such mode or level
    dataset = dataset or score.open_dataset(run, workdir, root)
    # Decoded once, scored often.
    source = InMemory(dataset.source(split), run.config.data.cache_bytes)
    predictors = levels.create_predictors(run.predictor)
    print(f"scoring {len(source)} images of {split} at {deepest} levels in two modes, then timing these", flush=True)
    batch_size = run.config.eval.batch_size
    scored = {key: evaluate(predictor, source, batch_size=batch_size) for key, predictor in predictors.items()}
    draws = bootstrap.draw(len(source), seed=run.config.seed)
    scores = {key: levels.scores(predictors[key], *scored[key], draws) for key in predictors}

    iou = {k: scores[k, mode]["iou_pooled"] for k in range(1, deepest + 1)}
    chosen, reason = levels.choose(iou, max_iou_drop)
    if level:
        reason = f"--level says so; the rule chooses level {chosen}: {reason}"
    chosen = level or chosen
    out = folder.resolve(out or workdir / f"pruned-level{chosen}")
    extract.check_free(out, overwrite)

    device = jax.local_devices()[0]
    images, num_of_size = levels.timing_images(source, run.predictor, rounds)
    measured = levels.measure(predictors, images, rounds, device)
    whole = measured[deepest, "fast"]
    memory = levels.node_memory(predictors[deepest, "fast"], images[0].shape, device)
    result = {
        "workdir": str(workdir),
        "step": run.step,
        "split": split,
        "num_images": len(source),
        "classes": list(run.predictor.report_classes),
        "resamples": len(draws),
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
        workdir,
        out,
        level=chosen,
        mode=mode,
        step=run.step,
        score=iou[chosen],
        overwrite=overwrite,
        split=split,
        max_iou_drop=max_iou_drop,
    )
    written = report.write(result, out)
    print(f"\npruned network  {out}\ntable and plot  {', '.join(map(str, written))}", flush=True)
    if retrain:
        result["retrained"] = _retrain(run, workdir, chosen, mode, root, source, scored[chosen, mode], draws)
        print(f"\n{report.comparison(result)}")
        write_results(out, {"prune.json": result})
    return result


def _retrain(run, workdir: Path, level: int, mode: str, root: str, source, embedded, draws) -> dict:
    """Trains the level alone with the run's config; `embedded` is how `evaluate` scored that level of the whole on `source`."""
    alone_dir = workdir / f"retrained-level{level}-{mode}"
    config = extract.level_config(score.config_with_root(run, root), level, mode)
    # Not from a network whose other levels were trained with it.
    config.train.init_from = ""
    loop.train_and_evaluate(config, alone_dir)
    alone_run = open_run(alone_dir, mode=mode)
    predictor = alone_run.predictor
    alone = evaluate(predictor, source, batch_size=run.config.eval.batch_size)
    samples = [
        bootstrap.scores(bootstrap.counts(rows, predictor.class_names), draws, predictor.report_channels)["iou_pooled"]
        for _, rows in (embedded, alone)
    ]
    # From the same draws, so that what makes an image hard cancels.
    low, high = bootstrap.interval(samples[0] - samples[1])
    return {
        "workdir": str(alone_dir),
        "step": alone_run.step,
        "level": level,
        "mode": mode,
        **levels.scores(predictor, *alone, draws),
        "embedded_minus_alone": embedded[0]["iou_pooled/mean"] - alone[0]["iou_pooled/mean"],
        "embedded_minus_alone_low": low,
        "embedded_minus_alone_high": high,
    }
