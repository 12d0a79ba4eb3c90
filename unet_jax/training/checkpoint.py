"""Checkpoints: the only file that imports Orbax.

What is written are host NumPy trees (they restore on any number of devices) and, beside them, one sha256 per leaf:
Orbax notices a missing or truncated file, but not a flipped bit.
"""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging as absl_logging
from orbax.checkpoint import checkpoint_managers as policies

from unet_jax import parallel
from unet_jax.errors import UserError

MISFIT = "the config is another one than it was trained with"
REMEDY = "evaluate another one (run_eval.py --checkpoint=STEP), or remove its folder to resume from the one before"


def digests(tree) -> dict[str, str]:
    """sha256 over type, shape and bytes of every leaf, by its path in the tree."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {_name(path): _digest(leaf) for path, leaf in leaves}


class Checkpointer:
    """Saves a run's states in the background and keeps the latest two and the best one.

    Args:
      directory: of the checkpoints; made if not there.
      latest: how many of the latest to keep.
      read_only: for reading alone: creates and deletes nothing. So do all processes but the first.
    """

    def __init__(self, directory, *, latest: int = 2, read_only: bool = False):
        absl_logging.set_verbosity(absl_logging.ERROR)  # Orbax reports each phase of each save
        self.directory = Path(directory).absolute()
        if read_only:
            self._manager = self._open(latest, read_only)
        else:  # the first makes the folder
            self._manager = parallel.first_then_others("open checkpoints", lambda: self._open(latest, read_only))

    def _open(self, latest: int, read_only: bool) -> ocp.CheckpointManager:
        process = parallel.process_index()
        read_only = read_only or process > 0
        if not read_only:
            self.directory.mkdir(parents=True, exist_ok=True)  # Orbax does not for one process of several
        return ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                create=False,
                read_only=read_only,
                # Each process by itself: the tree is whole in all, so none has to wait for another, least of all a dead one.
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    primary_host=process, active_processes={process}, barrier_sync_key_prefix=f"process_{process}"
                )
                if parallel.process_count() > 1
                else ocp.options.MultiprocessingOptions(),
                best_fn=_score,  # without it best_step() is the latest
                best_mode="max",
                preservation_policy=policies.AnyPreservationPolicy(
                    [
                        policies.LatestN(latest),
                        policies.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False),
                    ]
                ),
            ),
        )

    def save(self, step: int, state, score: float | None = None) -> None:
        """Writes `state` (a host tree) as that of `step`; `score` is what "best" compares (more is better, NaN is worst).

        Returns at once; the writing goes on in the background. Every process calls it,
        process 0 writes.
        """
        if parallel.process_index():
            return
        if step in self._manager.all_steps():
            return  # that very state is there already: a run stopped and resumed at the same step
        tree = _plain(state)
        saved = self._manager.save(
            step,
            args=ocp.args.Composite(state=ocp.args.PyTreeSave(tree), digests=ocp.args.JsonSave(digests(tree))),
            metrics=None if score is None else {"score": float(score)},
        )
        if not saved:  # Orbax skips a save without a word
            raise RuntimeError(f"checkpoint {step} was not saved into {self.directory}")

    def steps(self) -> list[int]:
        """Every step that is there, in order."""
        return sorted(self._manager.all_steps())

    def step_of(self, which: str | int) -> int:
        """The step that "best", "latest" or a number names; UserError if there is none."""
        steps = self.steps()
        if not steps:
            raise UserError(f"{self.directory} has no checkpoint; train first (run_train.py --workdir=...)")
        if which == "latest":
            return steps[-1]
        if which == "best":
            return steps[-1] if self.best_step() is None else self.best_step()
        if not str(which).isdigit() or int(which) not in steps:
            raise UserError(
                f"checkpoint {which!r} is not in {self.directory}; there are: best, latest, {', '.join(map(str, steps))}"
            )
        return int(which)

    def latest_step(self) -> int | None:
        """The latest step saved, or None."""
        if parallel.process_index():
            self._manager.reload()  # process 0 saves
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """The step of the best score, or None where none was scored."""
        return self._manager.best_step()

    def names(self, step: int) -> set[str]:
        """The names of all leaves in the checkpoint of `step`, such as "params/enc_0/conv_0/kernel"; no array is read."""
        return set(self._read(step, digests=ocp.args.JsonRestore())["digests"])

    def leaves(self, step: int) -> dict[str, np.ndarray]:
        """Every leaf in the checkpoint of `step`, by its name; UserError where one is not what was written."""
        saved = self._read(step, state=ocp.args.PyTreeRestore())["state"]
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype), saved)
        return {_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(self.restore(step, like))[0]}

    def restore(self, step: int, like, misfit: str = MISFIT) -> Any:
        """Reads the state of `step`.

        Args:
          step: one that is there.
          like: a tree of arrays or `jax.ShapeDtypeStruct`, with the structure, shapes and types to read. It may be a
            part of what was saved (the parameters alone, or those of a smaller network): the rest is not read.
          misfit: what the error says where a leaf has another shape or type.

        Returns:
          A tree like `like` of NumPy arrays.

        Raises:
          UserError: a leaf is missing, has another shape or type, or is not what was written.
        """
        item = _plain(jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype), like))
        restored = self._read(
            step,
            state=ocp.args.PyTreeRestore(
                item=item,
                restore_args=jax.tree.map(lambda x: ocp.RestoreArgs(restore_type=np.ndarray), item),
                partial_restore=True,
            ),
            digests=ocp.args.JsonRestore(),
        )
        written = restored["digests"]
        leaves = {_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(restored["state"])[0]}

        def checked(path, wanted):
            name = _name(path)
            if name not in written:
                raise UserError(f"checkpoint {step} in {self.directory} has no {name}; {MISFIT}")
            leaf = leaves[name]
            if np.shape(leaf) != np.shape(wanted) or leaf.dtype != wanted.dtype:
                raise UserError(
                    f"checkpoint {step} in {self.directory}: {name} is {leaf.dtype}{list(np.shape(leaf))}, the network "
                    f"has {wanted.dtype}{list(np.shape(wanted))}; {misfit}"
                )
            if written.get(name) != _digest(leaf):
                raise UserError(
                    f"checkpoint {step} in {self.directory} is damaged: {name} is not what was written (sha256 differs); "
                    f"{REMEDY}"
                )
            return leaf

        return jax.tree_util.tree_map_with_path(checked, like)

    def _read(self, step: int, **items):
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**items))
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"checkpoint {step} in {self.directory} cannot be read "
                f"({(str(error) or type(error).__name__).splitlines()[0]}); {REMEDY}"
            ) from error

    def wait(self) -> None:
        """Until what was saved so far is on disk. Every process calls it."""
        self._manager.wait_until_finished()
        parallel.barrier("saved")

    def close(self) -> None:
        """Finishes the writing. A Checkpointer is a context manager that closes itself, on errors too."""
        self._manager.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _score(metrics: Mapping[str, float]) -> float:
    score = metrics["score"]
    return -math.inf if math.isnan(score) else score  # a NaN among the scores would delete the best checkpoint


def _plain(tree):
    """Nested dicts keyed by name alone, so that a part can be read by name and optax's types do not matter."""
    plain: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        *parents, last = (_key(part) for part in path)
        node = plain
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = leaf
    return plain


def _key(part) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(part, attribute):
            return str(getattr(part, attribute))
    raise TypeError(f"unknown kind of key in a tree: {part!r}")


def _name(path) -> str:
    return "/".join(_key(part) for part in path)


def _digest(leaf) -> str:
    array = np.ascontiguousarray(leaf)
    header = f"{array.dtype.str}{list(np.shape(leaf))}".encode()
    return hashlib.sha256(header + array.tobytes()).hexdigest()
