"""The file `WORKDIR/calibration.json`: a temperature, and the network that it was fitted for."""

from typing import TYPE_CHECKING, Any

from etils.epath import Path

from unet_jax.errors import UserError
from unet_jax.storage import json_file

if TYPE_CHECKING:
    from unet_jax.runs.load import Run

NAME = "calibration.json"
REMEDY = "fit it with unet-jax calibrate"


def network_of(run: "Run", views: str) -> dict[str, Any]:
    """Returns what decides the probabilities of a run, by the names in the file.

    Args:
      run: an opened run.
      views: the name of the views.
    """
    return {
        "step": run.step,
        "checkpoint_sha256": run.checkpoint_sha256,
        "mode": run.predictor.mode,
        "level": run.predictor.level,
        "weights": run.weights,
        "views": views,
    }


def read_temperature(folder: Path, run: "Run", views: str) -> float:
    """Returns the temperature of a run.

    Args:
      folder: of the run.
      run: an opened run.
      views: the name of the views.

    Raises:
      UserError: there is no such file, it is damaged, or its temperature was fitted for another network.
    """
    path = folder / NAME
    try:
        content = json_file.read_object(path, REMEDY)
    except FileNotFoundError as error:
        raise UserError(f"--calibrated: {path} is not there; {REMEDY} --workdir={folder}") from error
    for key, value in network_of(run, views).items():
        if content.get(key) != value:
            raise UserError(
                f"--calibrated: {path} is for {key} {content.get(key)!r}, and {value!r} is asked for; {REMEDY} for it"
            )
    temperature = content.get("temperature")
    if not isinstance(temperature, int | float) or isinstance(temperature, bool) or not temperature > 0:
        raise UserError(f"--calibrated: {path} holds the temperature {temperature!r}, no number above 0; {REMEDY}")
    return float(temperature)
