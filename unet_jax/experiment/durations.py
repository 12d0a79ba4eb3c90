"""How long a run is, in steps, whatever the config says it in: steps, epochs or examples."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence

from unet_jax.errors import UserError
from unet_jax.experiment.ranges import LAST_STEP

UNITS = ("steps", "epochs", "examples")
LENGTH = ("num_steps", "num_epochs", "num_examples")  # keys of `train`: how long the run is
EVERY = ("eval_every", "eval_every_epochs", "eval_every_examples")  # keys of `train`: from one evaluation to the next
WARMUP = ("warmup_steps", "warmup_epochs", "warmup_examples")  # keys of `optim`: how long the warm-up is


@dataclasses.dataclass(frozen=True)
class Durations:
    """Of one run, in steps.

    Attributes:
      num_steps: of the whole run.
      eval_every: from one evaluation to the next.
      warmup_steps: of the warm-up.
      boundaries: at which the schedule "step" lowers the rate.
      lines: what there is to print: the first two, and a warning of boundaries that the run does not reach.
    """

    num_steps: int
    eval_every: int
    warmup_steps: int
    boundaries: tuple[int, ...]
    lines: tuple[str, ...]


def check(train: Mapping, optim: Mapping) -> None:
    """Raises UserError unless each duration is given in exactly one unit; the warm-up may be in none, which is none."""
    for section, keys, values, least in (
        ("train", LENGTH, train, 1),
        ("train", EVERY, train, 1),
        ("optim", WARMUP, optim, 0),
    ):
        given = {key: values[key] for key in keys if values[key] != 0}
        for key, value in given.items():
            if not 0 < value < math.inf:
                raise UserError(f"{section}.{key} {value} must be above 0, or 0 for not given")
        said = ", ".join(f"{section}.{key}={value}" for key, value in given.items())
        if len(given) > 1:
            raise UserError(f"{said}: give one of them and set the others to 0")
        if len(given) < least:
            known = ", ".join(f"{section}.{key}" for key in keys)
            raise UserError(f"{section}.{keys[0]} {values[keys[0]]}: give one of {known} a value of at least 1")


def resolve(train: Mapping, optim: Mapping, num_examples: int) -> Durations:
    """The durations in steps.

    An epoch is as many examples as there are, whatever their order: batches run across its end. What does not come out
    even is rounded up, so that no example of the last epoch is left out.

    Args:
      train: with `batch_size`, and the keys `LENGTH` and `EVERY`, of which each has one that is not 0.
      optim: with the keys `WARMUP`, one at most not 0, and `boundaries`, in the unit that the length is given in.
      num_examples: of the training split.

    Raises:
      UserError: as of `check`; a boundary is no number; or the run, or a boundary, has more steps than a device can count.
    """
    check(train, optim)
    batch_size = train["batch_size"]

    def steps(unit: str, value) -> int:
        examples = {"steps": value * batch_size, "epochs": value * num_examples, "examples": value}[unit]
        return math.ceil(examples / batch_size - 1e-9)  # less than a rounding error more is no step more

    def read(values, keys):
        unit, value = next(((u, values[k]) for u, k in zip(UNITS, keys, strict=True) if values[k]), ("steps", 0))
        return unit, value, steps(unit, value)

    unit, value, num_steps = read(train, LENGTH)
    if not all(isinstance(b, int | float) for b in optim["boundaries"]):
        raise UserError(f"optim.boundaries {optim['boundaries']!r}: give numbers of {unit}")
    boundaries = tuple(map(functools.partial(steps, unit), optim["boundaries"]))
    for key, given, counted in (
        (f"train.{LENGTH[UNITS.index(unit)]}", value, (num_steps,)),
        ("optim.boundaries", tuple(optim["boundaries"]), boundaries),
    ):
        if max(counted, default=0) > LAST_STEP:
            raise UserError(f"{key} {given} comes to {max(counted)} steps; give at most {LAST_STEP}")
    eval_every = read(train, EVERY)[2]
    text = f"{num_steps} steps of {batch_size} ({num_steps * batch_size / num_examples:.4g} epochs of {num_examples})"
    return Durations(
        num_steps,
        eval_every,
        read(optim, WARMUP)[2],
        boundaries,
        (
            (f"{value:g} {unit} are " if unit != "steps" else "") + f"{text}, evaluated every {eval_every} steps",
            *_unreached(optim["boundaries"], boundaries, unit, num_steps),
        ),
    )


def _unreached(given: Sequence[float], boundaries: Sequence[int], unit: str, num_steps: int) -> list[str]:
    """A warning where boundaries lie at the end of the run or behind it: it may be made longer, or the unit be another."""
    beyond = [f"{said:g}" for said, step in zip(given, boundaries, strict=True) if step >= num_steps]
    if not beyond:
        return []
    return [
        f"warning: optim.boundaries {', '.join(beyond)} ({unit}, as the run's length is given in) are not before the end of "
        f"the run's {num_steps} steps: the rate does not fall there, unless the run is made longer"
    ]
