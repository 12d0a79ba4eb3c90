"""Joins this process to a job of several processes. Ends it after an error, so that no other process waits for it.

A collective operation waits for all processes, and waits forever if one has died. So a process that fails exits at once. It
skips JAX's orderly shutdown, because that is a collective operation too. The other processes notice the broken connection
within seconds. If they do not, JAX's coordinator ends them `HEARTBEAT_S` after the last sign of life of the dead process.
"""

import contextlib
import hashlib
import os
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from unet_jax.errors import UserError
from unet_jax.storage.write_errors import first_line
from unet_jax.version import __version__

# Seconds without a sign of life after which a process counts as dead.
HEARTBEAT_S = 60

# Seconds that process 0 waits before it exits after an error. Its exit ends the other processes at once, and they need
# this time to print their errors.
EXIT_DELAY_S = 2

# Seconds that a process waits for the others to say their versions. All of them have joined by then.
VERSIONS_TIMEOUT_S = 300

# Environment variables that hold the number of processes that a launcher has started.
LAUNCHERS = {"Slurm": "SLURM_STEP_NUM_TASKS", "Open MPI": "OMPI_COMM_WORLD_SIZE"}

MANUAL_FLAGS = "give --coordinator=HOST:PORT (of process 0), --num_processes and --process_id"

# Words in the errors of a collective operation after another process has died.
LOST_PROCESS_WORDS = ("gloo", "nccl", "connection", "coordination", "heartbeat", "peer", "barrier", "unavailable")


@contextlib.contextmanager
def join_job(
    multiprocess: bool | None = None,
    coordinator: str = "",
    num_processes: int | None = None,
    process_id: int | None = None,
) -> Iterator[None]:
    """Joins the job that this process belongs to, if any, while the context lasts.

    Only process 0 prints to stdout; every process prints its errors. An error inside the context ends this process, and
    then the whole job within `2 * HEARTBEAT_S`.

    Args:
      multiprocess: True: join; False: do not join; None: join if Slurm or Open MPI started several processes.
      coordinator: HOST:PORT of process 0, if it cannot be detected. Needs `num_processes` and `process_id`.
      num_processes: the number of processes of the job.
      process_id: the number of this process, from 0.

    Raises:
      UserError: the arguments contradict each other, there is no job to join, its coordinator cannot be reached, or its
        processes have other versions of the packages.
    """
    manual = bool(coordinator) or num_processes is not None or process_id is not None
    if multiprocess is False and manual:
        raise UserError(
            "--nomultiprocess contradicts --coordinator, --num_processes and --process_id; drop these, or drop "
            "--nomultiprocess"
        )
    if not (multiprocess or manual or (multiprocess is None and launcher())):
        yield
        return
    if manual and (not coordinator or num_processes is None or process_id is None):
        raise UserError(f"--coordinator, --num_processes and --process_id go together: {MANUAL_FLAGS}")
    if num_processes is not None and process_id is not None and process_id >= num_processes:
        raise UserError(
            f"--process_id={process_id} does not fit --num_processes={num_processes}; give a number from 0 to "
            f"{num_processes - 1}"
        )
    if process_id == 0:
        _check_port(coordinator)
    _initialize(coordinator or None, num_processes, process_id)
    # Imported here, because --help must not wait for JAX.
    import jax

    index, count = jax.process_index(), jax.process_count()
    with contextlib.ExitStack() as stack:
        if index:
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        try:
            _check_same_versions()
            yield
        except (Exception, KeyboardInterrupt) as error:
            # SystemExit passes: all processes raise it at the same step.
            if count == 1:
                raise
            _exit_after_error(error, index, count)


def launcher() -> str:
    """Returns the launcher that started this process as one of several, or "" if none is detected."""
    for name, variable in LAUNCHERS.items():
        if os.environ.get(variable, "1") not in ("", "1"):
            return name
    return ""


def _check_port(coordinator: str) -> None:
    """Checks that no other program listens at the port of `coordinator`, HOST:PORT of this process.

    JAX would share the port with the coordinator of another job (SO_REUSEPORT), and processes would join the wrong job.

    Raises:
      UserError: the port is taken, or is no port.
    """
    _, _, port = coordinator.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(f"--coordinator={coordinator} has no port; give HOST:PORT, such as 10.0.0.1:12345")
    with socket.socket() as listener:
        # A port whose last job has just ended counts as free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", int(port)))
        except OSError as error:
            raise UserError(
                f"--coordinator={coordinator}: port {port} is taken on this machine ({error.strerror}), perhaps by another "
                "job; give every process of this job another port"
            ) from error


def _initialize(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # JAX's handler of SIGTERM would replace that of the training loop, and would hide a signal that comes before training.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id, heartbeat_timeout_seconds=HEARTBEAT_S)
    except ValueError as error:
        raise UserError(
            f"--multiprocess: the job of this process cannot be detected ({error}). Start it with Slurm (srun), Open MPI "
            f"(mpirun) or Kubernetes (an indexed Job, with jax[k8s] installed), or on a Cloud TPU; or {MANUAL_FLAGS}"
        ) from error
    except RuntimeError as error:
        raise UserError(
            f"--multiprocess: the job cannot be joined ({first_line(error)}). Start all processes within five minutes, "
            "with the same --num_processes, and check that they can reach the coordinator's port"
        ) from error


def _check_same_versions() -> None:
    """Raises UserError if the processes of the job run different code, which would wait for each other for ever."""
    import jax
    import jaxlib

    from unet_jax.runtime import processes

    package = Path(__file__).parents[1]
    sources = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        sources.update(f"{path.relative_to(package)}\n".encode() + path.read_bytes())
    processes.check_same(
        {
            "the version of unet-jax": __version__,
            "the version of jax": jax.__version__,
            "the version of jaxlib": jaxlib.__version__,
            "the sha256 of unet_jax/**/*.py": sources.hexdigest()[:12],
        },
        "install the same versions in every process",
        timeout_ms=VERSIONS_TIMEOUT_S * 1000,
    )


def _exit_after_error(error: BaseException, index: int, count: int) -> None:
    """Prints the error and ends this process at once, so that no other waits for it."""
    status = 1
    if isinstance(error, KeyboardInterrupt):
        text, status = "interrupted", 130
    elif isinstance(error, UserError):
        text, status = f"error: {error}", 2
    elif is_lost_process(error):
        text = (
            f"error: another process of this job has ended ({first_line(error)}). Its output gives the reason. Start the "
            "job again with the same command: it goes on from its latest checkpoint"
        )
    else:
        text = "".join(traceback.format_exception(error))
    with contextlib.suppress(OSError):
        # `os._exit` does not flush it.
        sys.stdout.flush()
    print(f"process {index} of {count}: {text}", file=sys.stderr, flush=True)
    if index == 0:
        time.sleep(EXIT_DELAY_S)
    os._exit(status)


def is_lost_process(error: BaseException) -> bool:
    """Returns True for the error of a collective operation that failed because another process has ended."""
    import jax

    message = str(error).lower()
    return isinstance(error, jax.errors.JaxRuntimeError) and any(word in message for word in LOST_PROCESS_WORDS)
