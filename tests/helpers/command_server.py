"""Starts the commands of `unet-jax` in a fraction of a second: a process that has imported everything forks for each.

    python command_server.py SOCKET              serves until its standard input ends
    python command_server.py SOCKET COMMAND ...  runs `unet-jax COMMAND ...` there, in this folder and with this output

Trainings are made small. A command that has ended well is not run again in the same folder: several pages train runs/mine.
Variables that JAX reads when it is imported must be set when the server starts; all others are those of the command.
"""

import json
import os
import select
import socket
import sys

# Flags of every training, where the command does not set the key itself. configs/smoke.py is small already.
SMALL = {
    "model.widths": "(4, 8)",
    "data.patch": "(32, 32)",
    "train.batch_size": "4",
    "train.num_steps": "2",
    "optim.warmup_steps": "1",
    "eval.num_pictures": "1",
}
# For the synthetic X-rays: those of configs/smoke.py, which are then prepared once.
FEW = {"data.size": "(64, 64)", "data.num_train": "16", "data.num_val": "8", "data.num_test": "8"}


def serve(address: str) -> None:
    """Runs the commands that come in, one at a time, each in a fork that ends as the program does."""
    # All that the commands import. None of it starts a thread or a device, which a fork would not have.
    import matplotlib.figure  # noqa: F401

    import unet_jax.analysis.compare.comparison
    import unet_jax.analysis.gradients.compare
    import unet_jax.analysis.plan.plan
    import unet_jax.analysis.prune.pruning
    import unet_jax.analysis.skips.study
    import unet_jax.runs.loop  # noqa: F401
    from unet_jax.programs import commands
    from unet_jax.runtime import roofline

    # As in conftest.py.
    roofline.STEP_PRODUCT["cpu"] = (256, 1)
    done = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        print("ready", flush=True)
        while server in select.select([server, sys.stdin], [], [])[0]:
            connection, _ = server.accept()
            message, outputs, _, _ = socket.recv_fds(connection, 1 << 20, 2)
            request = json.loads(message)
            key = request["folder"], request["words"]
            child = 0 if key in done else os.fork()
            if child == 0 and key not in done:
                for number, output in enumerate(outputs, 1):
                    os.dup2(output, number)
                os.chdir(request["folder"])
                os.environ.update(request["environment"])
                sys.argv = ["unet-jax", *small(request["words"])]
                commands.run()
                sys.exit(0)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if child else 0
            if not status:
                done.append(key)
            for output in outputs:
                os.close(output)
            connection.sendall(b"%d" % status)
            connection.close()


def small(words: list[str]) -> list[str]:
    """Returns the words of a command, with flags that make a training or a preview small."""
    command, *arguments = words
    config = next((word.partition("=")[2] for word in arguments if word.startswith("--config=")), "")
    if command not in ("train", "preview") or config == "smoke":
        return words
    given = {word.partition("=")[0].removeprefix("--config.") for word in arguments}
    flags = (SMALL if command == "train" else {}) | ({} if "FOLDER" in config else FEW)
    return words + [f"--config.{key}={value}" for key, value in flags.items() if key not in given]


def ask(address: str, words: list[str]) -> int:
    """Has the server run a command; returns its status."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        request = {"folder": os.getcwd(), "environment": dict(os.environ), "words": words}
        socket.send_fds(connection, [json.dumps(request).encode()], [1, 2])
        return int(connection.recv(16) or b"1")


if __name__ == "__main__":
    if sys.argv[2:]:
        sys.exit(ask(sys.argv[1], sys.argv[2:]))
    serve(sys.argv[1])
