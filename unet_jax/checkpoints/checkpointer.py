"""Saves and restores checkpoints through Orbax. No file outside this room imports Orbax.

A checkpoint holds a tree of NumPy arrays, which can be restored on any number of devices, and one sha256 per leaf. The
sha256 is needed because Orbax detects a missing or truncated file, but not a flipped bit.
"""

import contextlib
import functools
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils.epath import Path

from unet_jax.checkpoints import disk_space, integrity
from unet_jax.checkpoints.finished import UNFINISHED, read_contents
from unet_jax.checkpoints.integrity import DamagedCheckpoint
from unet_jax.checkpoints.orbax_manager import open_manager
from unet_jax.checkpoints.tree import leaf_digest, leaf_digests, leaf_name, named_leaves, to_nested_dict
from unet_jax.errors import UserError
from unet_jax.runtime import processes
from unet_jax.storage import paths
from unet_jax.storage.digests import json_sha256
from unet_jax.storage.paths import PathLike
from unet_jax.storage.plain_folder import plain_folder
from unet_jax.storage.write_errors import report_write_errors, translate_bucket_error

Tree = TypeVar("Tree")

MISFIT = "the config differs from the one that it was trained with"


# The folder, next to that of the checkpoints, in which a checkpoint is saved that replaces one.
REPLACING = ".checkpoint_with_score"

# Lines about what is no finished checkpoint, which are printed once.
_printed: set[str] = set()


class Checkpointer:
    """Saves a run's states in the background; keeps the latest checkpoints and the best one.

    A context manager that closes itself, also after an error.

    Args:
      directory: the folder of the checkpoints; it is made if it does not exist.
      latest: how many of the latest checkpoints to keep.
      read_only: True: create and delete nothing. Every process except process 0 is read-only in any case.
      check: is called before each save; what it raises stops the save.
    """

    def __init__(
        self,
        directory: PathLike,
        *,
        latest: int = 2,
        read_only: bool = False,
        check: Callable[[], None] = lambda: None,
    ):
        self.directory, self._check = paths.absolute(directory), check
        # The step saved last, and the bytes of its state.
        self._last = (0, 0)
        create_manager = functools.partial(open_manager, self.directory, latest=latest, read_only=read_only)
        if read_only:
            self._manager = create_manager()
        else:
            # Process 0 makes the folder.
            self._manager = processes.process_0_first("open checkpoints", create_manager)
            if not processes.process_index():
                self._remove_unfinished()
        self._note_others()

    def save(self, step: int, state: Any, score: float | None = None) -> None:
        """Waits for an earlier save, then starts to save a state in the background.

        Every process calls it; process 0 writes.

        Args:
          step: the step of the state. If it is saved already, nothing happens, unless it was saved without a score and now
            has one: then it is saved again, with the score.
          state: a tree of host arrays.
          score: "best" is the highest score; NaN is the lowest. None: this checkpoint is never the best.

        Raises:
          UserError: the disk is full or cannot be written. The next `save`, `wait` or `close` may raise this error too. The
            unfinished checkpoint is removed; earlier checkpoints are intact.
          RuntimeError: Orbax did not save and gave no reason.
        """
        if processes.process_index():
            return
        again = step in self._manager.all_steps()
        if again and (score is None or self.is_scored(step)):
            # It is the same state: the run was stopped and resumed at this step.
            return
        self._check()
        tree = to_nested_dict(state)
        items = ocp.args.Composite(state=ocp.args.PyTreeSave(tree), digests=ocp.args.JsonSave(leaf_digests(tree)))
        metrics = None if score is None else integrity.score_with_digest(score, step)
        self._wait_for_save()
        self._last = (step, sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(tree)))
        with self._translate_save_errors():
            saved = (
                self._replace(step, items, metrics) if again else self._manager.save(step, args=items, metrics=metrics)
            )
        if not saved:
            # Orbax can skip a save without an error.
            raise RuntimeError(f"checkpoint {step} was not saved into {self.directory}")

    def _replace(self, step: int, items: ocp.args.Composite, metrics: Any) -> bool:
        """Saves a step again, in another folder, and replaces the former checkpoint when the new one is whole."""
        folder = self.directory.with_name(REPLACING)
        # A killed run may have left it.
        paths.remove(folder)
        try:
            manager = open_manager(folder, latest=1, read_only=False)
            with contextlib.closing(manager):
                saved = manager.save(step, args=items, metrics=metrics)
            if saved:
                paths.replace(folder / str(step), self.directory / str(step))
        finally:
            paths.remove(folder)
        self._manager.reload()
        return saved

    def clear_the_way(self, first: int, last: int) -> None:
        """Moves what is no finished checkpoint, but has the name of a coming one, to `checkpoints_damaged/`; says so.

        Without it the save of that step would fail.

        Args:
          first: the first step that may be saved.
          last: the last one.

        Raises:
          UserError: something cannot be moved.
        """
        for name, why in read_contents(self.directory).others.items():
            step = name.partition(UNFINISHED)[0]
            coming = step.isdecimal() and step == str(int(step)) and first <= int(step) <= last
            # In a bucket an object is in nobody's way.
            if coming and not (paths.in_bucket(self.directory) and not (self.directory / name).is_dir()):
                print(
                    f"warning: {self.directory / name} is no checkpoint ({why}) and was moved to {self._move_away(name)}"
                )

    def _remove_unfinished(self) -> None:
        """Removes what the saves of a killed run have left."""
        for name in read_contents(self.directory).unfinished:
            print(f"note: {self.directory / name} is a save that a killed run has not finished; it is removed")
            paths.remove(self.directory / name)

    def _note_others(self) -> None:
        others = "" if processes.process_index() else read_contents(self.directory).describe_others()
        line = f"note: {self.directory} holds what is no finished checkpoint, and is passed over: {others}"
        if others:
            self._print_once(line)

    def _print_once(self, line: str) -> None:
        if line not in _printed:
            _printed.add(line)
            print(line)

    def steps(self) -> list[int]:
        """Returns every saved step, in order."""
        return sorted(self._manager.all_steps())

    def step_of(self, which: str | int) -> int:
        """Returns the step of a checkpoint.

        Args:
          which: "best", "latest" or a step. "best" is the latest if no checkpoint has a score. A checkpoint whose score is
            damaged is not the best, and is warned of.

        Raises:
          UserError: there is no such checkpoint.
        """
        steps = self.steps()
        if not steps:
            raise UserError(f"{self.directory} has no checkpoint; train first (unet-jax train --workdir=...)")
        if which == "latest":
            return steps[-1]
        if which == "best":
            for step in steps:
                if damage := self._manager.score_damage(step):
                    self._print_once(
                        f"warning: checkpoint {step} in {self.directory}: {damage}; the best is chosen among the others"
                    )
            best = self.best_step()
            return steps[-1] if best is None else best
        if str(which) not in map(str, steps):
            raise UserError(
                f"checkpoint {which!r} is not in {self.directory}; give one of: best, latest, {', '.join(map(str, steps))}"
            )
        return int(which)

    def latest_step(self) -> int | None:
        """Returns the latest saved step, or None."""
        if processes.process_index():
            # Process 0 may have saved since the folder was read.
            self._manager.reload()
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """Returns the step with the best score, or None if no checkpoint has a score."""
        return self._manager.best_step()

    def is_scored(self, step: int) -> bool:
        """Returns True if the checkpoint of `step` was saved with a score that is intact."""
        return self._manager.metrics(step) is not None

    def leaf_names(self, step: int) -> set[str]:
        """Returns the names of all leaves saved at `step`, such as "params/enc_0/conv_0/kernel". Reads no array."""
        return set(self._digests(step))

    def sha256(self, step: int) -> str:
        """Returns the sha256 of what was saved at `step`, from the digests of its leaves. Reads no array."""
        return json_sha256(self._digests(step))

    def verify_score(self, step: int) -> None:
        """Checks the score of a checkpoint.

        Args:
          step: a saved step.

        Raises:
          DamagedCheckpoint: `step` was saved with a score, and the score is now missing or another one.
        """
        if damage := self._manager.score_damage(step):
            raise self._damaged(step, damage)

    def move_to_damaged(self, step: int) -> Path:
        """Moves a checkpoint to `checkpoints_damaged/`, next to the folder, so that it is never used.

        Args:
          step: a saved step.

        Returns:
          The new path of the checkpoint.

        Raises:
          UserError: the checkpoint cannot be moved.
        """
        target = self._move_away(str(step))
        self._manager.reload()
        return target

    def _move_away(self, name: str) -> Path:
        folder = self.directory.with_name(f"{self.directory.name}_damaged")
        # The same step may have been damaged before.
        free = (name, *(f"{name}.{number}" for number in range(2, 1000)))
        target = next(folder / name for name in free if not (folder / name).exists())
        with report_write_errors():
            folder.mkdir(exist_ok=True)
            paths.move(self.directory / name, target)
        return target

    def read_leaves(self, step: int) -> dict[str, np.ndarray]:
        """Reads every leaf saved at `step`, by its name.

        Args:
          step: a saved step.

        Raises:
          UserError: as for `restore`.
        """
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), self._metadata(step))
        return named_leaves(self.restore(step, like))

    def restore(self, step: int, like: Tree, misfit: str = MISFIT) -> Tree:
        """Reads the state of `step`, or a part of it, and compares each leaf with its digest.

        Args:
          step: a saved step.
          like: a tree of arrays or `jax.ShapeDtypeStruct` with the structure, shapes and types to read. It may be a part
            of the saved state (only the parameters, or those of a smaller network). The rest is not read.
          misfit: the end of the error message if a leaf has another shape or type.

        Returns:
          A tree like `like` of NumPy arrays.

        Raises:
          DamagedCheckpoint: a file is missing or truncated, or a leaf differs from what was saved.
          UserError: a leaf of `like` was not saved, or has another shape or type; or the folder cannot be read.
        """
        digests = self._digests(step)
        missing = named_leaves(like).keys() - digests.keys()
        if missing:
            if digests.keys() != named_leaves(self._metadata(step)).keys():
                raise self._damaged(step, "digests does not name the leaves of state")
            raise UserError(f"checkpoint {step} in {self.directory} has no {min(missing)}; {MISFIT}")
        item = to_nested_dict(jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype), like))
        restored = self._read(
            step,
            state=ocp.args.PyTreeRestore(
                item=item,
                restore_args=jax.tree.map(lambda x: ocp.RestoreArgs(restore_type=np.ndarray), item),
                partial_restore=True,
            ),
        )
        leaves = named_leaves(restored["state"])

        def verified_leaf(path, wanted):
            name = leaf_name(path)
            leaf = leaves[name]
            if digests[name] != leaf_digest(leaf):
                raise self._damaged(step, f"{name} is not what was written (its sha256 differs)")
            if np.shape(leaf) != np.shape(wanted) or leaf.dtype != wanted.dtype:
                raise UserError(
                    f"checkpoint {step} in {self.directory}: {name} is {leaf.dtype}{list(np.shape(leaf))}, but the network "
                    f"has {wanted.dtype}{list(np.shape(wanted))}; {misfit}"
                )
            return leaf

        return jax.tree_util.tree_map_with_path(verified_leaf, like)

    def _digests(self, step: int) -> dict[str, str]:
        digests = self._read(step, digests=ocp.args.JsonRestore())["digests"]
        if not isinstance(digests, dict) or not digests:
            raise self._damaged(step, "digests/metadata holds no digest")
        return digests

    def _damaged(self, step: int, damage: str) -> DamagedCheckpoint:
        return DamagedCheckpoint(f"checkpoint {step} in {self.directory} is damaged: {damage}")

    def _metadata(self, step: int) -> dict[str, Any]:
        """Returns the tree of `step` with Orbax's metadata as leaves, which have the shapes and types."""
        with (
            integrity.raise_if_damaged(f"checkpoint {step} in {self.directory}: state"),
            ocp.PyTreeCheckpointer() as reader,
        ):
            return reader.metadata(plain_folder(self.directory) / str(step) / "state").item_metadata.tree

    def _read(self, step: int, **items):
        with integrity.raise_if_damaged(f"checkpoint {step} in {self.directory}: {' and '.join(items)}"):
            return self._manager.restore(step, args=ocp.args.Composite(**items))

    @contextlib.contextmanager
    def _translate_save_errors(self) -> Iterator[None]:
        """Turns the errors of a save into a UserError that names the checkpoint and where the run can go on from.

        A save fails in the background. Orbax raises its error from the method that is called next.
        """
        try:
            yield
        except Exception as error:
            if bucket_error := translate_bucket_error(error):
                # Orbax ignores the unfinished checkpoint in the bucket, and removes it when the run goes on.
                fallback = disk_space.describe_fallback(self._manager.latest_step())
                raise UserError(
                    f"checkpoint {self._last[0]} could not be written into {self.directory}: {bucket_error}; {fallback}"
                ) from error
            number = disk_space.error_number(error)
            if number is None:
                raise
            self._remove_failed_save()
            raise UserError(
                disk_space.write_failure_message(number, self.directory, *self._last, self.latest_step())
            ) from error

    def _remove_failed_save(self) -> None:
        step, _ = self._last
        # Repeated, because another thread may still write a part of the checkpoint, and so make the folder again.
        for _ in range(20):
            for half in self._unfinished(step):
                shutil.rmtree(half, ignore_errors=True)
            time.sleep(0.05)
            if not self._unfinished(step):
                break
        self._manager.reload()

    def _unfinished(self, step: int) -> list[Path]:
        return [path for path in self.directory.iterdir() if path.name.startswith(f"{step}{UNFINISHED}")]

    def wait(self) -> None:
        """Waits until every save is on the disk. Every process calls it.

        Raises:
          UserError: as for `save`.
        """
        self._wait_for_save()
        processes.barrier("saved")

    def _wait_for_save(self) -> None:
        with self._translate_save_errors():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits until every save is on the disk, and closes Orbax's manager.

        Raises:
          UserError: as for `save`.
        """
        try:
            self._wait_for_save()
        finally:
            # Orbax writes its metadata only now, and a bucket may refuse it.
            with self._translate_save_errors():
                self._manager.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
