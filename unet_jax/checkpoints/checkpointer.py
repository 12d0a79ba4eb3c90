"""Checkpoints, by Orbax: this file and `manager.py` alone know it.

What is written are host NumPy trees (they restore on any number of devices) and, beside them, one sha256 per leaf:
Orbax notices a missing or truncated file, but not a flipped bit.
"""

import contextlib
import functools
import shutil
import time
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils.epath import Path

from unet_jax.checkpoints import disk_space, integrity
from unet_jax.checkpoints.integrity import Damaged
from unet_jax.checkpoints.orbax_manager import open_manager
from unet_jax.checkpoints.tree import leaf_digest, leaf_digests, leaf_name, named_leaves, to_nested_dict
from unet_jax.errors import UserError
from unet_jax.runtime import parallel
from unet_jax.storage import paths
from unet_jax.storage.write_errors import report_write_errors, translate_bucket_error

MISFIT = "the config is another one than it was trained with"


def saved_steps(directory: Path) -> list[int]:
    """The steps whose checkpoints are whole, in order; of a folder that need not be there."""
    try:
        return sorted(ocp.utils.checkpoint_steps(directory))
    except FileNotFoundError:
        return []


class Checkpointer:
    """Saves a run's states in the background and keeps the latest two and the best one.

    Args:
      directory: of the checkpoints; made if not there.
      latest: how many of the latest to keep.
      read_only: for reading alone: creates and deletes nothing. So do all processes but the first.
    """

    def __init__(self, directory, *, latest: int = 2, read_only: bool = False):
        self.directory = paths.absolute(directory)
        self._last = (0, 0)  # the step saved last, and its bytes
        open_ = functools.partial(open_manager, self.directory, latest=latest, read_only=read_only)
        if read_only:
            self._manager = open_()
        else:  # the first makes the folder
            self._manager = parallel.process_0_first("open checkpoints", open_)

    def save(self, step: int, state, score: float | None = None) -> None:
        """Writes `state` (a host tree) as that of `step`; `score` is what "best" compares (more is better, NaN is worst).

        The writing goes on in the background; a save before it is waited for. Every process calls it, process 0 writes.

        Raises:
          UserError: the disk is full or refuses; also from the next `save`, `wait` or `close`. What was half written is
            gone, and every checkpoint before it still there.
        """
        if parallel.process_index():
            return
        if step in self._manager.all_steps():
            return  # that very state is there already: a run stopped and resumed at the same step
        tree = to_nested_dict(state)
        items = ocp.args.Composite(state=ocp.args.PyTreeSave(tree), digests=ocp.args.JsonSave(leaf_digests(tree)))
        metrics = None if score is None else integrity.duplicate_score(score)
        self._finish()
        self._last = (step, sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(tree)))
        with self._naming_the_disk():
            saved = self._manager.save(step, args=items, metrics=metrics)
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
        return set(self._digests(step))

    def check_score(self, step: int) -> None:
        """Raises Damaged where the score of `step` was written and is not what it was."""
        why = self._manager.score_damage(step)
        if why:
            raise Damaged(f"checkpoint {step} in {self.directory} is damaged: {why}")

    def set_aside(self, step: int) -> Path:
        """Moves the checkpoint of `step` to `checkpoints_damaged/` beside the folder, so that it counts no more; where to."""
        folder = self.directory.with_name(f"{self.directory.name}_damaged")
        names = (str(step), *(f"{step}.{number}" for number in range(2, 1000)))  # it may happen to a step twice
        target = next(folder / name for name in names if not (folder / name).exists())
        with report_write_errors():
            folder.mkdir(exist_ok=True)
            paths.move(self.directory / str(step), target)
        self._manager.reload()
        return target

    def leaves(self, step: int) -> dict[str, np.ndarray]:
        """Every leaf in the checkpoint of `step`, by its name; UserError where one is not what was written."""
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), self._metadata(step))
        return named_leaves(self.restore(step, like))

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
          Damaged: a file is missing or cut off, or a leaf is not what was written.
          UserError: a leaf of `like` was never there or had another shape or type, or the folder cannot be read.
        """
        written = self._digests(step)
        missing = named_leaves(like).keys() - written.keys()
        if missing:
            if written.keys() != self._leaves(step):
                raise Damaged(
                    f"checkpoint {step} in {self.directory} is damaged: digests does not name the leaves of state"
                )
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

        def checked(path, wanted):
            name = leaf_name(path)
            leaf = leaves[name]
            if written[name] != leaf_digest(leaf):
                raise Damaged(
                    f"checkpoint {step} in {self.directory} is damaged: {name} is not what was written (sha256 differs)"
                )
            if np.shape(leaf) != np.shape(wanted) or leaf.dtype != wanted.dtype:
                raise UserError(
                    f"checkpoint {step} in {self.directory}: {name} is {leaf.dtype}{list(np.shape(leaf))}, the network "
                    f"has {wanted.dtype}{list(np.shape(wanted))}; {misfit}"
                )
            return leaf

        return jax.tree_util.tree_map_with_path(checked, like)

    def _digests(self, step: int) -> dict[str, str]:
        found = self._read(step, digests=ocp.args.JsonRestore())["digests"]
        if not isinstance(found, dict) or not found:
            raise Damaged(f"checkpoint {step} in {self.directory} is damaged: digests/metadata holds none")
        return found

    def _leaves(self, step: int) -> set[str]:
        """The names of all leaves as Orbax noted them, beside the arrays."""
        return set(named_leaves(self._metadata(step)))

    def _metadata(self, step: int) -> dict[str, Any]:
        """The tree of that step, with Orbax's notes on each leaf, its shape and type among them."""
        with (
            integrity.raise_if_damaged(f"checkpoint {step} in {self.directory}: state"),
            ocp.PyTreeCheckpointer() as reader,
        ):
            return reader.metadata(self.directory / str(step) / "state").item_metadata.tree

    def _read(self, step: int, **items):
        with integrity.raise_if_damaged(f"checkpoint {step} in {self.directory}: {' and '.join(items)}"):
            return self._manager.restore(step, args=ocp.args.Composite(**items))

    @contextlib.contextmanager
    def _naming_the_disk(self):
        """Orbax raises what went wrong in the background from whatever is called next, in the words of a library below."""
        try:
            yield
        except Exception as error:
            number, told = disk_space.error_number(error), translate_bucket_error(error)
            if told:  # what is left of it there counts for nothing, and goes when the run goes on
                left = disk_space.describe_fallback(self._manager.latest_step())
                raise UserError(
                    f"checkpoint {self._last[0]} could not be written into {self.directory}: {told}; {left}"
                ) from error
            if number is None:
                raise
            raise UserError(self._clear_up(number)) from error

    def _clear_up(self, number: int) -> str:
        """Removes what the save that failed has left; what to tell the user."""
        step, size = self._last
        for _ in range(20):  # another part of it may still be written, and make the folder again
            for half in self._unfinished(step):
                shutil.rmtree(half, ignore_errors=True)
            time.sleep(0.05)
            if not self._unfinished(step):
                break
        self._manager.reload()
        return disk_space.write_failure_message(number, self.directory, step, size, self.latest_step())

    def _unfinished(self, step: int) -> list[Path]:
        return [path for path in self.directory.iterdir() if path.name.startswith(f"{step}.orbax-checkpoint-tmp")]

    def wait(self) -> None:
        """Until what was saved so far is on disk; errors as of `save`. Every process calls it."""
        self._finish()
        parallel.barrier("saved")

    def _finish(self) -> None:
        with self._naming_the_disk():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Finishes the writing; errors as of `save`. A Checkpointer is a context manager that closes itself, on errors too."""
        try:
            self._finish()
        finally:
            with self._naming_the_disk():  # a bucket's refusal of Orbax's own notes comes as late as here
                self._manager.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
