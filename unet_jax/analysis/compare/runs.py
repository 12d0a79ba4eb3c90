"""Opens runs to compare, groups those that differ only in their seed, and names the groups by their differences."""

import dataclasses
import hashlib
import os
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
from unet_jax.runs.records import REMEDY
from unet_jax.segmentation import resolve_report_classes

FRACTION = "data.train_fraction"
# Keys of the section "data" that do not decide which examples there are, nor what is in them.
NOT_THE_DATA = (FRACTION, "data.cache_dir", "data.num_threads", "data.cache_bytes")
LENGTH = tuple(f"train.{key}" for key in durations.LENGTH)
# Keys that come first in the name of a group.
FIRST = ("model.name", "model.", FRACTION, "data.", *LENGTH)


@dataclasses.dataclass(frozen=True)
class Run:
    """Describes a run whose network is not read.

    Attributes:
      workdir: its folder.
      config: its config.
      facts: facts of its data, from `versions.json`.
      step: step of its best checkpoint.
      checkpoint_sha256: what that checkpoint holds.
      keys: its config by dotted key, without the seed and the keys that no result depends on. "imports" is a digest of the
        contents of the files that the run imported.
    """

    workdir: Path
    config: ConfigDict
    facts: dict
    step: int
    checkpoint_sha256: str
    keys: dict[str, Any]

    @property
    def report_classes(self) -> tuple[str, ...]:
        """The classes that the scores are means over."""
        return resolve_report_classes(self.facts["class_names"], tuple(self.config.eval.classes))

    @property
    def train_fraction(self) -> float:
        """The fraction of the training images that the run used."""
        return self.config.data.train_fraction


@dataclasses.dataclass(frozen=True)
class Group:
    """Holds runs that differ only in their seed.

    Attributes:
      name: values of the keys that distinguish the group from the others; see `names`.
      runs: the runs, in the order of their seeds.
    """

    name: str
    runs: tuple[Run, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the runs, in order."""
        return tuple(run.config.seed for run in self.runs)


def open_runs(workdirs: Sequence[str | os.PathLike]) -> list[Run]:
    """Opens runs for comparison.

    Args:
      workdirs: folders of runs.

    Returns:
      The runs, in the order given.

    Raises:
      UserError: no folder is given, a folder is not a run or has no checkpoint, two are the same run, or the runs differ
        in their data or reported classes.
    """
    if not workdirs:
        raise UserError("no run to compare; give at least one folder of a run")
    runs: list[Run] = []
    known: dict[tuple, Path] = {}
    for workdir in workdirs:
        run = _open(workdir)
        # Of two folds only the path of the split file differs, which is no key; the fingerprint knows the split.
        identity = (run.config.seed, run.facts["fingerprint"], _frozen(run.keys))
        if identity in known:
            raise UserError(
                f"{run.workdir} and {known[identity]} are the same run (same config, data and imported files, seed {run.config.seed}); give one of them"
            )
        known[identity] = run.workdir
        runs.append(run)
    for run in runs[1:]:
        _check_comparable(runs[0], run)
    return runs


def _open(workdir) -> Run:
    workdir = folder.resolve(workdir)
    if not (workdir / "config.json").is_file():
        raise UserError(f"{workdir} is not a run: it has no config.json; give folders that unet-jax train made")
    config, facts = folder.load_config(workdir), folder.load_facts(workdir)
    if "train" not in facts["splits"]:
        raise UserError(f"{workdir / 'versions.json'} has no data.splits.train: it is damaged; {REMEDY}")
    with Checkpointer(workdir / "checkpoints", read_only=True) as checkpointer:
        step, latest = checkpointer.step_of("best"), checkpointer.latest_step()
        sha256 = checkpointer.sha256(step)
    num_steps = read_sections(config).resolve_durations(facts["splits"]["train"]).num_steps
    if (workdir / "metrics.jsonl").exists() and latest < num_steps and not config.train.patience:
        print(f"note: {workdir} is not finished (step {latest} of {num_steps})")
    keys = {
        key: value
        for key, value in flatten_dict(config.to_dict(), sep=".").items()
        # Patience decides where a run ends, so a result depends on it.
        if key != "seed" and (key not in folder.FREE or key == "train.patience")
    }
    if imported := _imported(workdir):
        keys["imports"] = imported
    return Run(workdir, config, facts, step, sha256, keys)


def _imported(workdir: Path) -> str:
    """Returns the start of a digest of the files that the run imported at its starts; "" for none."""
    digests = sorted({digest for start in folder.imported_digests(workdir) for digest in start.values()})
    text = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    return text[:12] if digests else ""


def _check_comparable(one: Run, other: Run) -> None:
    for name, first, second, remedy in (
        ("classes", one.facts["class_names"], other.facts["class_names"], "compare runs on one data set"),
        (
            "reported classes (eval.classes)",
            one.report_classes,
            other.report_classes,
            "compare runs with the same eval.classes",
        ),
    ):
        if sorted(first) != sorted(second):
            raise UserError(
                f"{name} of {one.workdir}: {', '.join(first)}; of {other.workdir}: {', '.join(second)}; {remedy}"
            )
    fingerprints = [run.facts["fingerprint"] for run in (one, other)]
    if fingerprints[0] != fingerprints[1]:
        sections = [flatten_dict({"data": run.config.data.to_dict()}, sep=".") for run in (one, other)]
        differing = differences([{k: v for k, v in keys.items() if k not in NOT_THE_DATA} for keys in sections])
        values = [f"{key}: {first!r} and {second!r}" for key, (first, second) in differing.items()]
        raise UserError(
            f"{one.workdir} and {other.workdir} have different data (fingerprints {fingerprints[0][:12]} and "
            f"{fingerprints[1][:12]}; {'; '.join(values) or 'the contents of the files differ'}); "
            "compare runs on the same images"
        )


def groups(runs: Sequence[Run]) -> list[Group]:
    """Groups runs that differ only in their seed; groups are in the order of their first runs."""
    members: dict[tuple, list[Run]] = {}
    for run in runs:
        members.setdefault(_frozen(run.keys), []).append(run)
    ordered = [tuple(sorted(same, key=lambda run: run.config.seed)) for same in members.values()]
    named = names([same[0].keys for same in ordered])
    return [Group(name, same) for name, same in zip(named, ordered, strict=True)]


def networks(all_groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Returns groups that differ only in their fraction of the training images, under one name.

    Args:
      all_groups: groups of one comparison.

    Returns:
      By name without the fraction, the groups, smallest fraction first.
    """
    members: dict[tuple, list[Group]] = {}
    for group in all_groups:
        members.setdefault(_frozen(_without_fraction(group)), []).append(group)
    named = names([_without_fraction(same[0]) for same in members.values()])
    by_fraction = [sorted(same, key=lambda group: group.runs[0].train_fraction) for same in members.values()]
    return dict(zip(named, by_fraction, strict=True))


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list]:
    """Returns the keys whose values differ between configs, the most important keys first.

    Args:
      configs: values by dotted key.

    Returns:
      By key, its value in every config; None where the config lacks the key.

    >>> differences([{"model.name": "unet", "seed": 0}, {"model.name": "unet_pp", "seed": 0}])
    {'model.name': ['unet', 'unet_pp']}
    """
    keys = dict.fromkeys(key for config in configs for key in config)
    values_of = {key: [config.get(key) for config in configs] for key in sorted(keys, key=_rank)}
    return {key: values for key, values in values_of.items() if any(value != values[0] for value in values)}


def names(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns a short name for each of several different configs: values of as few keys as distinguish them.

    The network comes first. A key appears only in the names of configs that the keys before it leave equal. Where nothing
    differs, the name is that of the network.

    Args:
      configs: values by dotted key.

    >>> unet = {"model.name": "unet"}
    >>> names([unet, {"model.name": "unet_pp", "model.level": 1}, {"model.name": "unet_pp", "model.level": 2}])
    ['unet', 'unet_pp level=1', 'unet_pp level=2']
    """
    words_of: list[list[str]] = [[] for _ in configs]
    equal = [list(range(len(configs)))]
    for key, values in differences(configs).items():
        separated: list[list[int]] = []
        for members in equal:
            by_value: dict[Any, list[int]] = {}
            for index in members:
                by_value.setdefault(values[index], []).append(index)
            if len(by_value) > 1:
                for index in members:
                    if values[index] is not None:
                        words_of[index].append(_word(key, values[index]))
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
