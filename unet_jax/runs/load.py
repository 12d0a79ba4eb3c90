"""Loading of a trained run: `load_predictor` gives its network, `open_run` also its config and data facts."""

import dataclasses

import jax
from ml_collections import ConfigDict

from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.errors import UserError
from unet_jax.experiment.build import channel_names, create_module
from unet_jax.experiment.sections import WEIGHTS
from unet_jax.inference.predictor import Predictor, select_heads
from unet_jax.runs.workdir import load_config, load_facts, resolve


@dataclasses.dataclass(frozen=True)
class Run:
    """A run opened for use.

    Attributes:
      config: of the run.
      facts: what it was trained on, as of `workdir.data_facts`.
      step: the step that was restored.
      weights: "raw" or "ema".
      predictor: the network of that step.
    """

    config: ConfigDict
    facts: dict
    step: int
    weights: str
    predictor: Predictor


def load_predictor(
    workdir, *, checkpoint: str | int = "best", mode: str = "", level: int = 0, weights: str = "", devices=None
) -> Predictor:
    """Loads the network of a run: `unet_jax.load(workdir).predict(array) -> masks, probabilities`.

    Args:
      workdir: of `run_train.py`; the run may be finished or still training. Its data need not be there.
      checkpoint: "best", "latest" or a step.
      mode: "accurate" (mean over the heads, for a network with several), "fast" (one head), or "" for the config's
        `eval.mode`.
      level: U-Net++'s pruning level; only the parameters it needs are read. 0 is the network as trained.
      weights: "raw", "ema" (their moving average, of a run with `optim.ema_decay`), or "" for the config's `eval.weights`.
      devices: to run on; all local ones by default, whatever the number trained on.

    Raises:
      UserError: no such run, checkpoint, mode, level or weights, or the checkpoint is damaged.
    """
    run = open_run_with_mode(workdir, checkpoint=checkpoint, mode=mode, level=level, weights=weights, devices=devices)
    return run.predictor


def open_run_with_mode(workdir, *, mode: str = "", **options) -> Run:
    """Opens a run as `open_run` does, for a user who gives a mode.

    Raises:
      UserError: as `open_run`; or the mode is "accurate", the mean over several heads, and the network has one head.
    """
    run = open_run(workdir, mode=mode, **options)
    module = run.predictor.module
    if mode == "accurate" and not module.deep_supervision:
        why = ", as it was trained without deep supervision" if module.levels != (0,) else ""
        raise UserError(
            f"mode 'accurate' is the mean over several heads, and the network ({type(module).__name__}) has one{why}; "
            "use 'fast', or leave the mode out"
        )
    return run


def open_run(
    workdir, *, checkpoint: str | int = "best", mode: str = "", level: int = 0, weights: str = "", devices=None
) -> Run:
    """Restores a run; arguments and errors as of `load_predictor`."""
    workdir = resolve(workdir)
    config, facts = load_config(workdir), load_facts(workdir)
    module = create_module(config, facts["class_names"], facts["overlapping"])
    # Without a gradient there is nothing to compute again, and analyses look inside the network.
    module = module.without_remat()
    mode, weights = mode or config.eval.mode, weights or config.eval.weights
    _check_weights(weights, config)
    images = jax.ShapeDtypeStruct((1, *config.data.patch, facts["channels"]), "float32")
    variables = jax.eval_shape(select_heads(module, mode, level).init, jax.random.key(0), images)
    with Checkpointer(workdir / "checkpoints", read_only=True) as checkpointer:
        step = checkpointer.step_of(checkpoint)
        if checkpoint == "best" and checkpointer.best_step() is None:
            print(f"note: no checkpoint of {workdir} was scored yet; taking the latest, of step {step}")
        if weights == "ema":
            restored = checkpointer.restore(step, {"ema": dict(variables)})["ema"]
        else:
            restored = checkpointer.restore(step, dict(variables))
    predictor = create_predictor(config, module, facts, restored, mode=mode, level=level, devices=devices)
    return Run(config, facts, step, weights, predictor)


def _check_weights(weights: str, config: ConfigDict) -> None:
    if weights not in WEIGHTS:
        raise UserError(f"weights {weights!r} is unknown; known: {', '.join(WEIGHTS)}")
    if weights == "ema" and not config.optim.ema_decay:
        raise UserError("weights 'ema': the run keeps no moving average (its optim.ema_decay is 0); use 'raw'")


def create_predictor(
    config, module, facts: dict, variables, *, mode: str = "", level: int = 0, devices=None
) -> Predictor:
    """Returns a Predictor that treats images as the config's training did; `facts` as of `workdir.data_facts`."""
    return Predictor(
        module=module,
        variables=variables,
        class_names=channel_names(module, facts["class_names"]),
        channels=facts["channels"],
        report_classes=tuple(config.eval.classes),
        normalize=config.data.normalize,
        mode=mode or config.eval.mode,
        level=level,
        pad_multiple=config.eval.pad_multiple,
        devices=devices,
    )
