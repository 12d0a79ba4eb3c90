"""Durations of a run in steps. The config gives each in steps, epochs or examples."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from unet_jax.checks import LAST_STEP
from unet_jax.errors import UserError

UNITS = ("steps", "epochs", "examples")
# Keys of `config.train`: the length of the run, by unit.
LENGTH = ("num_steps", "num_epochs", "num_examples")
# Keys of `config.train`: the time from one evaluation to the next, by unit.
EVERY = ("eval_every", "eval_every_epochs", "eval_every_examples")
# Keys of `config.optim`: the length of the warm-up, by unit.
WARMUP = ("warmup_steps", "warmup_epochs", "warmup_examples")


@dataclasses.dataclass(frozen=True)
class Duration:
    """A length of time.

    Attributes:
      unit: one of `UNITS`.
      value: at least 0.

    >>> Duration("epochs", 2.5).steps(batch_size=8, num_examples=30)
    10
    """

    unit: str
    value: float

    def steps(self, batch_size: int, num_examples: int) -> int:
        """Returns the duration in steps.

        An epoch is `num_examples` examples. A batch may hold the end of one epoch and the start of the next. The result is
        rounded up, so that no example of the last epoch is left out.

        Args:
          batch_size: number of examples in a step.
          num_examples: number of examples in the training split.
        """
        examples = self.value * {"steps": batch_size, "epochs": num_examples, "examples": 1}[self.unit]
        # A rounding error above a whole number must not add a step.
        return math.ceil(examples / batch_size - 1e-9)


@dataclasses.dataclass(frozen=True)
class Durations:
    """The durations of one run, in steps.

    Attributes:
      num_steps: steps of the whole run.
      eval_every: steps from one evaluation to the next.
      warmup_steps: steps of the warm-up.
      boundaries: steps at which the schedule "step" lowers the rate.
      lines: for the log: the length of the run, a note where the warm-up is shortened, a warning of boundaries that the
        run does not reach.
    """

    num_steps: int
    eval_every: int
    warmup_steps: int
    boundaries: tuple[int, ...]
    lines: tuple[str, ...]


def one_duration(section: str, values: Mapping[str, float], *, optional: bool = False) -> Duration:
    """Returns a duration from keys of which exactly one is not 0.

    Args:
      section: the section of the config, for errors.
      values: values by key, in the order of `UNITS`; 0 where the duration is not given in that unit.
      optional: True where all may be 0. Then the duration is 0 steps.

    Raises:
      UserError: the duration is given in several units; or in none, and it is not optional.
    """
    given = {key: value for key, value in values.items() if value}
    if len(given) > 1:
        listed = ", ".join(f"{section}.{key}={value}" for key, value in given.items())
        raise UserError(f"{listed}: give one of them and set the others to 0")
    if not given and not optional:
        known = ", ".join(f"{section}.{key}" for key in values)
        raise UserError(f"{section}.{next(iter(values))} 0: give one of {known} a value of at least 1")
    units = (Duration(unit, value) for unit, value in zip(UNITS, values.values(), strict=True) if value)
    return next(units, Duration("steps", 0))


def shorten_warmup(warmup_steps: int, num_steps: int) -> int:
    """Returns the steps of the warm-up that a run uses: a tenth of the run where the warm-up would not end within it.

    >>> shorten_warmup(50, num_steps=320), shorten_warmup(50, num_steps=20)
    (50, 2)

    Args:
      warmup_steps: steps of the warm-up that the config gives.
      num_steps: steps of the run.
    """
    return warmup_steps if warmup_steps < num_steps else num_steps // 10


def resolve_durations(
    length: Duration,
    every: Duration,
    warmup: Duration,
    boundaries: Sequence[float],
    *,
    batch_size: int,
    num_examples: int,
) -> Durations:
    """Returns the durations of a run in steps.

    Args:
      length: the length of the run.
      every: the time from one evaluation to the next.
      warmup: the length of the warm-up.
      boundaries: times at which the schedule "step" lowers the rate, in the unit of `length`.
      batch_size: number of examples in a step.
      num_examples: number of examples in the training split.

    Raises:
      UserError: the run or a boundary comes to more steps than int32 can count.
    """

    def steps(duration: Duration) -> int:
        return duration.steps(batch_size, num_examples)

    num_steps = steps(length)
    boundary_steps = tuple(steps(Duration(length.unit, boundary)) for boundary in boundaries)
    length_key = f"train.{LENGTH[UNITS.index(length.unit)]}"
    for key, value, last in (
        (length_key, length.value, num_steps),
        ("optim.boundaries", tuple(boundaries), max(boundary_steps, default=0)),
    ):
        if last > LAST_STEP:
            raise UserError(f"{key} {value} comes to {last} steps; give at most {LAST_STEP}")
    eval_every = steps(every)
    epochs = num_steps * batch_size / num_examples
    text = f"{num_steps} steps of {batch_size} images ({epochs:.4g} epochs of {num_examples} images)"
    if length.unit != "steps":
        text = f"{length.value:g} {length.unit} are {text}"
    lines = [f"{text}, evaluated every {eval_every} steps"]
    given_warmup = steps(warmup)
    warmup_steps = shorten_warmup(given_warmup, num_steps)
    if warmup_steps != given_warmup:
        takes = f"the warm-up takes {warmup_steps} steps, a tenth of the run" if warmup_steps else "there is no warm-up"
        lines.append(
            f"note: optim.{WARMUP[UNITS.index(warmup.unit)]}={warmup.value:g} does not end within the run's {num_steps} steps: "
            f"{takes}"
        )
    beyond = [f"{given:g}" for given, step in zip(boundaries, boundary_steps, strict=True) if step >= num_steps]
    if beyond:
        lines.append(
            f"warning: optim.boundaries {', '.join(beyond)} ({length.unit}, the unit of the run's length): the run ends at step "
            f"{num_steps}, so the rate does not fall there; make the run longer, or leave these boundaries out"
        )
    return Durations(num_steps, eval_every, warmup_steps, boundary_steps, tuple(lines))
