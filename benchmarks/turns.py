"""Runs a peer, another program that does the same work, in turn with the project, and compares the times of each turn.

The speed of a machine drifts, so only times of one round are compared: A B A B. The result is the median of their ratios.
"""

import json
import shlex
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from unet_jax.errors import UserError


def run_peer(peer: str, arguments: Mapping[str, Any]) -> dict:
    """Runs a peer once.

    Args:
      peer: its command.
      arguments: flags that are passed to it, by name.

    Returns:
      The JSON of its last line; `median_s` is a float.

    Raises:
      UserError: the peer cannot be run, fails, or ends with another line than JSON with "median_s".
    """
    command = [*shlex.split(peer), *(part for name, value in arguments.items() for part in (f"--{name}", str(value)))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        line = json.loads(done.stdout.strip().splitlines()[-1])
        return {**line, "median_s": float(line["median_s"])}
    except OSError as error:
        raise UserError(f"--peer={peer}: cannot be run ({error.strerror}); check the command") from error
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"--peer={peer}: ended with status {error.returncode}: {last}; run it by hand") from error
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise UserError(
            f'--peer={peer}: its last line is not JSON with "median_s"; let it print such a line last'
        ) from error


def compare(rounds: Sequence[Mapping[str, Any]]) -> dict:
    """Returns the medians over the rounds: seconds and, with a peer, the ratios of each round (project over peer).

    Args:
      rounds: by round, `project_s` and `peer_s`, which is None without a peer.
    """
    result: dict[str, Any] = {"project_s": round(statistics.median(r["project_s"] for r in rounds), 5)}
    if rounds[0]["peer_s"]:
        ratios = [r["project_s"] / r["peer_s"] for r in rounds]
        result["peer_s"] = round(statistics.median(r["peer_s"] for r in rounds), 5)
        result["ratio"] = round(statistics.median(ratios), 3)
        result["ratios"] = [round(ratio, 3) for ratio in ratios]
    return result


def describe_round(number: int, project_s: float, peer_s: float | None) -> str:
    """Returns the line of a round."""
    compared = f", peer {peer_s:.4f} s, ratio {project_s / peer_s:.3f}" if peer_s else ""
    return f"round {number}: project {project_s:.4f} s{compared}"


def describe_ratio(result: Mapping[str, Any]) -> list[str]:
    """Returns the line of the ratio that `compare` has found; nothing without a peer."""
    if "ratio" not in result:
        return []
    spread = f"{min(result['ratios']):.2f} to {max(result['ratios']):.2f}"
    return [f"peer {result['peer_s']:.4f} s: ratio {result['ratio']:.2f} ({spread} over the rounds)"]
