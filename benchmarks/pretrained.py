"""Turns a run into a network that the package ships: unet_jax/pretrained/NAME.npz and NAME.json.

    unet-jax train --config=default --workdir=runs/electrodes
    python benchmarks/pretrained.py --workdir=runs/electrodes --config_name=default --name=electrodes

The run must be one of the shipped config, without a change, so that anyone can train it again: NAME.json holds the
command. It must be scored on test by its best checkpoint, as a training does at its end: NAME.json holds the score by
class. The arrays are the weights that the run is used with, as float32.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict

# Python puts the folder of a script on the path, not the project's.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from unet_jax.errors import UserError
from unet_jax.runtime import cli

SPLIT = "test"
# Keys of `versions.json` that say what a score depends on.
VERSIONS = ("python", "packages", "git_commit", "device_kind", "device_count", "jax_config")


FLAGS = flags.FlagValues()
flags.DEFINE_string("workdir", None, "Folder of the run.", FLAGS, required=True)
flags.DEFINE_string("config_name", None, "The shipped config of the run: NAME, or NAME:ARGUMENT.", FLAGS, required=True)
flags.DEFINE_string("name", None, "Name of the shipped network.", FLAGS, required=True)


def main() -> None:
    from unet_jax.pretrained import shipped

    module, _, argument = FLAGS.config_name.partition(":")
    config = importlib.import_module(f"unet_jax.configs.{module}").get_config(*[argument] if argument else [])
    command = f"unet-jax train --config={FLAGS.config_name} --workdir=runs/{FLAGS.name}"
    for path in ship(FLAGS.workdir, config, FLAGS.name, command, shipped.FOLDER):
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


def ship(workdir: str | Path, config: ConfigDict, name: str, command: str, folder: Path) -> list[Path]:
    """Writes the two files of a run's best network into `folder`, and returns their paths.

    Args:
      workdir: the folder of the run.
      config: the config that the run must have.
      name: the name of the shipped network.
      command: the command that trains it.
      folder: gets the files.

    Raises:
      UserError: the run has another config, or its best checkpoint was not scored on test.
    """
    import jax

    from unet_jax.pretrained import shipped
    from unet_jax.runs.load import open_run

    run = open_run(workdir)
    check_config(run.config, config, workdir)
    start = json.loads((Path(workdir).expanduser() / "versions.json").read_text())["starts"][-1]
    record = {
        "command": command,
        "seed": config.seed,
        "step": run.step,
        "weights": run.weights,
        "score": read_score(run, workdir),
        "num_classes": run.predictor.module.num_classes,
        "data": run.facts,
        "config": json.loads(config.to_json()),
        "versions": {key: start[key] for key in VERSIONS},
    }
    return shipped.write(name, jax.device_get(run.predictor.variables), record, folder)


def check_config(config: ConfigDict, wanted: ConfigDict, workdir: str | Path) -> None:
    """Raises UserError where a run's config differs from `wanted` in a key that a result depends on."""
    from flax import traverse_util

    from unet_jax.runs.workdir import FREE

    old, new = (traverse_util.flatten_dict(json.loads(c.to_json()), sep=".") for c in (config, wanted))
    different = [key for key in sorted(old.keys() | new.keys()) if key not in FREE and old.get(key) != new.get(key)]
    if different:
        listed = ", ".join(f"{key} {old.get(key)!r}, not {new.get(key)!r}" for key in different)
        raise UserError(
            f"--workdir={workdir} has another config than --config_name: {listed}; train with that config as it is"
        )


def read_score(run: Any, workdir: str | Path) -> dict[str, Any]:
    """Returns the run's score on test, by class: IoU and Dice, pooled and per image.

    Raises:
      UserError: the best checkpoint was not scored on test.
    """
    path = Path(workdir).expanduser() / "eval" / f"{SPLIT}.json"
    content = json.loads(path.read_text()) if path.exists() else {}
    scored = {key: content.get(key) for key in ("step", "mode", "level", "fingerprint")}
    predictor = run.predictor
    used = {"step": run.step, "mode": predictor.mode, "level": 0, "fingerprint": run.facts["fingerprint"]}
    if scored != used:
        raise UserError(f"{path} does not hold the score of step {run.step}; first: unet-jax eval --workdir={workdir}")
    metrics = {key: value for key, value in content["summary"].items() if "/" in key or key == "pixel_accuracy"}
    return {"split": SPLIT, "mode": predictor.mode, "num_images": content["summary"]["num_images"], **metrics}


if __name__ == "__main__":
    cli.run(main, __doc__, FLAGS)
