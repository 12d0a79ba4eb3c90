"""A trained run put to use: scored on a split, or applied to a folder of images; what `run_eval.py` calls."""

from collections.abc import Callable

from etils.epath import Path
from ml_collections import ConfigDict

from unet_jax.data.dataset import Dataset
from unet_jax.errors import UserError
from unet_jax.evaluation import report
from unet_jax.evaluation.evaluate import evaluate
from unet_jax.experiment.build import create_dataset
from unet_jax.inference.folder import MaskFolder, file_name, predict_folder
from unet_jax.runs import shared_workdir
from unet_jax.runs import workdir as folder
from unet_jax.runs.load import Run, open_asked
from unet_jax.runtime import parallel


def score_run(
    workdir, *, split: str = "", root: str = "", dataset: Dataset | None = None, devices=None, **chosen
) -> dict[str, float]:
    """Scores a run on a split: prints a table, writes the scores, every mask, some overlays and the best, median and
    worst image under `WORKDIR/eval/`.

    What another checkpoint, mode, level or weights than the run's own give goes under a name of its own, `SPLIT-fast-level2`.

    Args:
      workdir: of the run.
      split: train, val or test; "" for test, or, where there is none, for val, and it is said.
      root: the data set's folder, if it is not where the config says.
      dataset: the run's data set, if it is open already.
      devices: to run on.
      **chosen: checkpoint, mode, level and weights as for `load`.

    Returns:
      The summary, by the names of `evaluation/metrics.py`.
    """
    workdir = folder.resolve(workdir)
    parallel.barrier("before scoring")  # a run's checkpoints are closed by now
    run = open_asked(workdir, devices=devices, **chosen)
    shared_workdir.check_same_step(run.step, workdir)
    if dataset is None:
        dataset = open_dataset(run, workdir, root)
    if not split:
        split = "test" if "test" in dataset.splits else "val"
        if split == "val":
            print("there is no test split; scoring val instead")
    predictor, out = run.predictor, workdir / "eval"
    own = {"checkpoint": "best", "mode": run.config.eval.mode, "weights": run.config.eval.weights}
    parts = [split, *(str(chosen[key]) for key in own if chosen.get(key, "") not in ("", own[key]))]
    name = "-".join(parts + [f"level{predictor.level}"] * bool(predictor.level))
    summary = write_scores(run, dataset, split, out, name)
    print(
        f"\n{split}, checkpoint of step {run.step}, {predictor.mode}"
        + f", level {predictor.level}" * bool(predictor.level)
    )
    print(report.table(summary, predictor.class_names, predictor.report_classes))
    print(f"\nscores       {out / name}.json")
    print(f"masks        {out / name}/ids (class ids), {out / name}/masks (0/255 by class)")
    print(f"overlays     {out / name}/overlays; best, median and worst image: {out / name}")
    if (workdir / "curves.png").exists():
        print(f"curves       {workdir / 'curves.png'}")
    print(f"checkpoints  {workdir / 'checkpoints'}")
    return summary


def write_scores(
    run: Run,
    dataset: Dataset,
    split: str,
    out: Path,
    name: str,
    progress: Callable[[int], None] = lambda num_images: None,
) -> dict[str, float]:
    """Scores a split and writes what `score_run` leaves: OUT/NAME.json, and OUT/NAME with masks and pictures.

    What is there is replaced. `progress` is told the number of images after each batch. Returns the summary.
    """
    source, predictor = dataset.source(split), run.predictor
    masks = MaskFolder(predictor, out / name, palette=run.facts["palette"])
    summary, rows = evaluate(
        predictor,
        source,
        batch_size=run.config.eval.batch_size,
        on_image=lambda id_, *predicted: masks.write(file_name(id_), *predicted),
        progress=progress,
    )
    parallel.on_process_0(lambda: _write(run, dataset, split, out, name, masks, summary, rows))
    return summary


def _write(run, dataset, split, out, name, masks, summary, rows) -> None:
    """The scores and the pictures, once every process has written the masks of its images."""
    source, predictor = dataset.source(split), run.predictor
    about = {"split": split, "step": run.step, "mode": predictor.mode, "level": predictor.level}
    about |= {"weights": run.weights} if run.config.optim.ema_decay else {}
    report.write_json(out / f"{name}.json", summary, rows, **about, fingerprint=dataset.fingerprint)
    report.save_overlays(masks, source, out / name / "overlays", limit=run.config.eval.num_pictures)
    report.save_ranked(masks, source, rows, out / name)


def predict_images(workdir, images, out, *, overwrite: bool = False, devices=None, **chosen) -> dict:
    """Predicts a folder of images with a run's network and prints what was written; see `evaluation.predict_folder`."""
    if parallel.process_count() > 1:
        raise UserError(f"--images={images} is for one process; start it without --multiprocess")
    run = open_asked(workdir, devices=devices, **chosen)
    done = predict_folder(
        run.predictor,
        images,
        out,
        batch_size=run.config.eval.batch_size,
        overwrite=overwrite,
        palette=run.facts["palette"],
    )
    print(
        f"{done['num_images']} images with the checkpoint of step {run.step}, {done['images_per_s']:.1f} images/s, "
        f"{done['num_compiles']} compiled sizes; written to:"
    )
    print("\n".join(f"  {path}" for path in done["folders"]))
    return done


def open_dataset(run: Run, workdir: Path, root: str = "") -> Dataset:
    """The run's data set, at `root` where it has moved; UserError where its classes are not the network's."""
    config = moved(run, root)
    config.data.weight_map = False  # training's alone: nothing is prepared for it here
    dataset = create_dataset(config)
    if dataset.fingerprint != run.facts["fingerprint"] and not root:
        print(f"note: the data are not those that {workdir} was trained on (their contents or options differ)")
    if list(dataset.class_names) != list(run.facts["class_names"]):
        raise UserError(
            f"the data's classes are {', '.join(dataset.class_names)}, those of {workdir} {', '.join(run.facts['class_names'])}"
        )
    return dataset


def moved(run: Run, root: str) -> ConfigDict:
    """The run's config, with its data at `root` ("" where they have not moved)."""
    config = run.config.copy_and_resolve_references()
    if root:
        key = next((key for key in ("root", "data_dir") if key in config.data), "")
        if not key:
            raise UserError(f"--root={root}: the run's data set, {config.data.name}, is not a folder")
        config.data[key] = root
        if "class_names" in config.data:
            config.data.class_names = tuple(run.facts["class_names"])  # this folder's masks may lack the highest id
    return config
