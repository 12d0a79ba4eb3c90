"""Runs to compare: what each of them is, which differ in their seed alone, and what distinguishes those groups."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from etils.epath import Path
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.errors import UserError
from unet_jax.experiment import durations
from unet_jax.experiment.sections import read_sections
from unet_jax.runs import workdir as folder
from unet_jax.segmentation import resolve_report_classes

FRACTION = "data.train_fraction"
LENGTH = tuple(f"train.{key}" for key in durations.LENGTH)
# Keys that name a group before all others.
FIRST = ("model.name", "model.", FRACTION, "data.", *LENGTH)


@dataclasses.dataclass(frozen=True)
class Run:
    """A run, its network not yet read: `step` is that of its best checkpoint, `facts` tells its data.

    `keys` is its config by dotted key, without the seed and without keys that no result depends on.
    """

    workdir: Path
    config: ConfigDict
    facts: dict
    step: int
    keys: dict[str, Any]

    @property
    def report_classes(self) -> tuple[str, ...]:
        return resolve_report_classes(self.facts["class_names"], tuple(self.config.eval.classes))

    @property
    def train_fraction(self) -> float:
        return self.config.data.train_fraction


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone, in the order of the seeds."""

    name: str
    runs: tuple[Run, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run.config.seed for run in self.runs)


def open_runs(workdirs: Sequence) -> list[Run]:
    """Opens runs for comparison.

    Raises:
      UserError: there is none, one is no run or has no checkpoint, two are the same run, or they are not on the same
        data with the same reported classes.
    """
    if not workdirs:
        raise UserError("no run to compare; give at least one folder of a run")
    runs, known = [], {}
    for workdir in workdirs:
        run = _open(workdir)
        identity = (run.config.seed, _frozen(run.keys))
        if identity in known:
            raise UserError(
                f"{run.workdir} and {known[identity]} are the same run: one config, seed {run.config.seed}; give it once"
            )
        known[identity] = run.workdir
        runs.append(run)
    for run in runs[1:]:
        _check_comparable(runs[0], run)
    return runs


def _open(workdir) -> Run:
    workdir = folder.resolve(workdir)
    if not (workdir / "config.json").is_file():
        raise UserError(f"{workdir} has no config.json, so no run is there; give folders of runs, as run_train.py made")
    config, facts = folder.load_config(workdir), folder.load_facts(workdir)
    with Checkpointer(workdir / "checkpoints", read_only=True) as checkpointer:
        step, latest = checkpointer.step_of("best"), checkpointer.latest_step()
    num_steps = read_sections(config).resolve_durations(facts["splits"]["train"]).num_steps
    if (workdir / "metrics.jsonl").exists() and latest < num_steps and not config.train.patience:
        print(f"note: {workdir} is not finished: step {latest} of {num_steps}")
    keys = {
        key: value
        for key, value in flatten_dict(config.to_dict(), sep=".").items()
        if key != "seed" and (key not in folder.FREE or key == "train.patience")  # patience: where a run ends
    }
    return Run(workdir, config, facts, step, keys)


def _check_comparable(one: Run, other: Run) -> None:
    for what, values, remedy in (
        ("classes", [run.facts["class_names"] for run in (one, other)], "compare runs on one data set"),
        (
            "reported classes (eval.classes)",
            [run.report_classes for run in (one, other)],
            "their scores are means over other classes",
        ),
    ):
        if sorted(values[0]) != sorted(values[1]):
            raise UserError(
                f"{what} of {one.workdir}: {', '.join(values[0])}; of {other.workdir}: {', '.join(values[1])}; {remedy}"
            )
    if one.facts["fingerprint"] != other.facts["fingerprint"]:
        differing = [key for key in differences([one.keys, other.keys]) if key.startswith("data.") and key != FRACTION]
        why = "; ".join(f"{key}: {one.keys.get(key)!r} there, {other.keys.get(key)!r} here" for key in differing)
        raise UserError(
            f"{one.workdir} and {other.workdir} are on other data (fingerprint {one.facts['fingerprint'][:12]} there, "
            f"{other.facts['fingerprint'][:12]} here; {why or 'the contents of the files'}); compare runs on the same images"
        )


def groups(runs: Sequence[Run]) -> list[Group]:
    """Returns the groups, in the order in which the first run of each was given."""
    members: dict[tuple, list[Run]] = {}
    for run in runs:
        members.setdefault(_frozen(run.keys), []).append(run)
    ordered = [tuple(sorted(same, key=lambda run: run.config.seed)) for same in members.values()]
    named = names([same[0].keys for same in ordered])
    return [Group(name, same) for name, same in zip(named, ordered, strict=True)]


def networks(all_groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Returns, by name, the groups that differ in their fraction of the training images alone, smallest fraction first."""
    members: dict[tuple, list[Group]] = {}
    for group in all_groups:
        members.setdefault(_frozen(_without_fraction(group)), []).append(group)
    named = names([_without_fraction(same[0]) for same in members.values()])
    by_fraction = [sorted(same, key=lambda group: group.runs[0].train_fraction) for same in members.values()]
    return dict(zip(named, by_fraction, strict=True))


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list]:
    """Returns the keys that differ, in the order in which they name; for each its value in every config, None where missing."""
    keys = dict.fromkeys(key for config in configs for key in config)
    values_of = {key: [config.get(key) for config in configs] for key in sorted(keys, key=_rank)}
    return {key: values for key, values in values_of.items() if any(value != values[0] for value in values)}


def names(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns a short name for each of several different configs: values of as few keys as distinguish them all.

    The network comes first. A key is in the names of those configs only that the keys before it leave equal and that it
    separates: compared with two U-Net++, a U-Net is `unet`. Where nothing differs, the name is that of the network.
    """
    words_of: list[list[str]] = [[] for _ in configs]
    equal = [list(range(len(configs)))]
    for key, values in differences(configs).items():
        separated = []
        for members in equal:
            by_value: dict[Any, list[int]] = {}
            for index in members:
                by_value.setdefault(values[index], []).append(index)
            if len(by_value) > 1:
                for index in members:
                    words_of[index] += [_word(key, values[index])] if values[index] is not None else []
            separated += by_value.values()
        equal = separated
    return [" ".join(words) or str(config["model.name"]) for words, config in zip(words_of, configs, strict=True)]


def _word(key: str, value) -> str:
    text = str(value).replace(" ", "") or "''"
    return text if key == "model.name" else f"{key.removeprefix('model.')}={text}"


def _rank(key: str) -> int:
    return next((rank for rank, start in enumerate(FIRST) if key.startswith(start)), len(FIRST))


def _without_fraction(group: Group) -> dict[str, Any]:
    return {key: value for key, value in group.runs[0].keys.items() if key != FRACTION}


def _frozen(keys: Mapping[str, Any]) -> tuple:
    return tuple(sorted(keys.items()))
