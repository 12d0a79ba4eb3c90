"""A trained network back out of its folder: `load` for use, `open_run` with its config and facts beside it."""

import dataclasses

import jax
from ml_collections import ConfigDict

from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.errors import UserError
from unet_jax.experiment.build import WEIGHTS, channel_names, create_module
from unet_jax.inference.predictor import Predictor, select_heads
from unet_jax.runs.workdir import load_config, load_facts, resolve


@dataclasses.dataclass(frozen=True)
class Run:
    """A run opened for use: its config, the step that was restored, and the network of that step."""

    config: ConfigDict
    facts: dict
    step: int
    weights: str  # which ones of that step: raw or ema
    predictor: Predictor


def load_predictor(
    workdir, *, checkpoint: str | int = "best", mode: str = "", level: int = 0, weights: str = "", devices=None
) -> Predictor:
    """The network of a run, ready to predict: `unet_jax.load(workdir).predict(array) -> masks, probabilities`.

    Args:
      workdir: of `run_train.py`; the run may be finished or still going on. Its data need not be there.
      checkpoint: "best", "latest" or a step.
      mode: "accurate" (mean over the heads, for a network with several), "fast" (one head), or "" for the config's
        `eval.mode`.
      level: U-Net++'s pruning level; only the parameters it needs are read. 0 is the network as trained.
      weights: "raw", "ema" (their moving average, of a run with `optim.ema_decay`), or "" for the config's `eval.weights`.
      devices: to run on; all local ones by default, whatever the number trained on.

    Raises:
      UserError: no such run, checkpoint, mode, level or weights, or the checkpoint is damaged.
    """
    chosen = {"checkpoint": checkpoint, "mode": mode, "level": level, "weights": weights}
    return open_asked(workdir, **chosen, devices=devices).predictor


def open_asked(workdir, *, mode: str = "", **chosen) -> Run:
    """`open_run` for a user who asks for a mode: a mean over heads that are not there is refused."""
    run = open_run(workdir, mode=mode, **chosen)
    module = run.predictor.module
    if mode == "accurate" and not getattr(module, "deep_supervision", False):
        why = ", as it was trained without deep supervision" if hasattr(module, "deep_supervision") else ""
        raise UserError(
            f"mode 'accurate' is the mean over several heads, and the network ({type(module).__name__}) has one{why}; "
            "use 'fast', or leave the mode out"
        )
    return run


def open_run(
    workdir, *, checkpoint: str | int = "best", mode: str = "", level: int = 0, weights: str = "", devices=None
) -> Run:
    """Restores a run; arguments and errors as for `load`."""
    workdir = resolve(workdir)
    config, facts = load_config(workdir), load_facts(workdir)
    module = create_module(config, facts["class_names"], facts["overlapping"])
    module = module.clone(remat=()) if hasattr(module, "remat") else module  # no gradient, and analysis looks inside
    mode, weights = mode or config.eval.mode, weights or config.eval.weights
    _check_weights(weights, config)
    images = jax.ShapeDtypeStruct((1, *config.data.patch, facts["channels"]), "float32")
    variables = jax.eval_shape(select_heads(module, mode, level).init, jax.random.key(0), images)
    with Checkpointer(workdir / "checkpoints", read_only=True) as checkpointer:
        step = checkpointer.step_of(checkpoint)
        if checkpoint == "best" and checkpointer.best_step() is None:
            print(f"note: no checkpoint of {workdir} was scored yet; taking the latest, of step {step}")
        like = dict(variables)
        restored = (
            checkpointer.restore(step, {"ema": like})["ema"] if weights == "ema" else checkpointer.restore(step, like)
        )
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
    """A Predictor that treats images as the config's training did; `facts` as in `data_facts`."""
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
