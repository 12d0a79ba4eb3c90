"""One of several processes that do a job together: how it joins, and how it leaves so that no other waits for it.

A collective waits for all processes, and one that died would be waited for without end. So whoever fails leaves at once,
without JAX's orderly shutdown, which is a collective too. The others learn it from a broken connection, in seconds, or
from JAX's coordinator, which ends them `HEARTBEAT_S` after the last sign of life, whatever they wait for.
"""

import contextlib
import os
import sys
import time
import traceback

from unet_jax.errors import UserError

HEARTBEAT_S = 60  # without a sign of life, after which a process is dead
GRACE_S = 2  # that process 0 stays, whose end ends the others at once: they say first what they have to say
LAUNCHERS = {"Slurm": "SLURM_STEP_NUM_TASKS", "Open MPI": "OMPI_COMM_WORLD_SIZE"}  # how many processes each has started
HAND = "give --coordinator=HOST:PORT (of process 0), --num_processes and --process_id"
LOST = (
    "gloo",
    "nccl",
    "connection",
    "coordination",
    "heartbeat",
    "peer",
    "barrier",
    "unavailable",
)  # of lost processes


@contextlib.contextmanager
def member(
    multiprocess: bool | None = None,
    coordinator: str = "",
    num_processes: int | None = None,
    process_id: int | None = None,
):
    """What is done inside is done by all processes of the job together, if this one is one of several.

    Process 0 speaks for all: what the others print to stdout is dropped; errors are told by each. An error inside ends
    this process, and with it, in at most `2 * HEARTBEAT_S`, the job.

    Args:
      multiprocess: whether to join the job that this process was started for; None where Slurm or Open MPI tell that it
        is one of several.
      coordinator, num_processes, process_id: how to join, where it cannot be detected.

    Raises:
      UserError: there is no job to join, or its coordinator cannot be reached.
    """
    by_hand = bool(coordinator) or num_processes is not None or process_id is not None
    if multiprocess is False and by_hand:
        raise UserError(
            "--nomultiprocess: nothing is joined, so --coordinator, --num_processes, --process_id are too many"
        )
    if not (multiprocess or by_hand or (multiprocess is None and launcher())):
        yield
        return
    if by_hand and (not coordinator or num_processes is None or process_id is None):
        raise UserError(f"--coordinator, --num_processes and --process_id go together: {HAND}")
    if by_hand and process_id >= num_processes:
        raise UserError(f"--process_id={process_id} is not one of {num_processes} processes; they count from 0")
    _join(coordinator or None, num_processes, process_id)
    import jax  # after the flags: --help needs none

    index, count = jax.process_index(), jax.process_count()
    with contextlib.ExitStack() as stack:
        if index:
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:  # SystemExit is agreed on: all processes leave together
            if count == 1:
                raise
            _leave(error, index, count)


def launcher() -> str:
    """Who started this process as one of several, "" for none that tells."""
    for name, variable in LAUNCHERS.items():
        if os.environ.get(variable, "1") not in ("", "1"):
            return name
    return ""


def _join(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # JAX's own answer to SIGTERM would hide one that comes before training from Python, and replace the loop's.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            heartbeat_timeout_seconds=HEARTBEAT_S,
        )
    except ValueError as error:
        raise UserError(
            f"--multiprocess: nothing tells this process which job it belongs to ({error}). Start it by Slurm (srun), Open "
            f"MPI (mpirun), Kubernetes (as an indexed Job, with jax[k8s] installed) or on a Cloud TPU, or {HAND}"
        ) from error
    except RuntimeError as error:
        raise UserError(
            f"--multiprocess: the job cannot be joined ({_first_line(error)}). All processes must be started within five "
            "minutes, with the same --num_processes, and reach the coordinator's port"
        ) from error


def _leave(error: BaseException, index: int, count: int) -> None:
    """Tells the error and ends this process at once, so that no other waits for it."""
    me, status = f"process {index} of {count}", 1
    if isinstance(error, KeyboardInterrupt):
        text, status = "interrupted", 130
    elif isinstance(error, UserError):
        text, status = f"error: {error}", 2
    elif is_lost(error):
        text = (
            f"error: another process of this job has ended, and its output says why ({_first_line(error)}). Start the job "
            "again with the same command: it goes on from its latest checkpoint"
        )
    else:
        text = "".join(traceback.format_exception(error))
    with contextlib.suppress(OSError):
        sys.stdout.flush()  # which `os._exit` would not
    print(f"{me}: {text}", file=sys.stderr, flush=True)
    if index == 0:
        time.sleep(GRACE_S)
    os._exit(status)


def is_lost(error: BaseException) -> bool:
    """Whether a collective failed because another process is not there any more."""
    import jax

    return isinstance(error, jax.errors.JaxRuntimeError) and any(word in str(error).lower() for word in LOST)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
