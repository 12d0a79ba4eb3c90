"""The claims of the networks' papers: commands on the runs of the evidence, what they print and what they draw.

    python benchmarks/evidence.py --claims

runs the commands whose runs are done. It puts command, table and picture into docs/explanation/claims.md, between the marks
there. `--only=PATTERN` chooses claims by name.
"""

import dataclasses
import fnmatch
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks import rows, tables
from benchmarks.programs import Programs
from unet_jax.errors import UserError

PAGE = rows.ROOT / "docs" / "explanation" / "claims.md"
PICTURES = rows.ROOT / "docs" / "images"
# The folder of the runs, as it stands on the page.
RUNS = "runs/evidence"


@dataclasses.dataclass(frozen=True)
class Claim:
    """A command of `unet-jax` on runs.

    Args:
      name: names the block on the page, and the picture.
      program: the command, such as "skips".
      runs: patterns of the names of the runs.
      picture: the picture that the command draws.
      arguments: its other arguments.
      positional: True if the runs are positional arguments, False if each is a --workdir.
    """

    name: str
    program: str
    runs: tuple[str, ...]
    picture: str
    arguments: tuple[str, ...] = ()
    positional: bool = False

    def matching_rows(self) -> list[rows.Row]:
        """Returns the rows whose names match, in the order of the patterns."""
        every = [row for pattern in self.runs for row in rows.ROWS if fnmatch.fnmatch(row.name, pattern)]
        return list(dict.fromkeys(every))

    def command(self, folder: str, names: Sequence[str], out: str) -> list[str]:
        """Returns the command and its arguments, as they follow `unet-jax`.

        Args:
          folder: the folder of the runs.
          names: the names of the runs, or patterns of them.
          out: the folder for the results.
        """
        given = [f"{folder}/{name}" if self.positional else f"--workdir={folder}/{name}" for name in names]
        return [self.program, *given, *self.arguments, f"--out={out}"]


def _names(data: str, *variants: str) -> tuple[str, ...]:
    return tuple(f"{data}-{variant}-2min-seed0" for variant in variants)


PLAIN_AND_NESTED = _names("electrodes", "unet", "unet_pp")
LONGER = ("battery_xray-unet-2min-seed0", "battery_xray-unet_pp-20min-seed0")
OF_ALL_FRACTIONS = ("{}-{}-2min-seed?", "{}-{}-2min-seed?-share*")
CLAIMS = (
    Claim(
        "skips-electrodes",
        "skips",
        _names("electrodes", "fcn", "unet", "unet_pp"),
        "skips.png",
        ("--split=test", "--mean=both", "--boundary_distance=0.005"),
    ),
    Claim("skips-battery_xray", "skips", LONGER, "skips.png", ("--mean=both",)),
    Claim("similarity-electrodes", "skips", PLAIN_AND_NESTED, "similarity.png", ("--similarity", "--split=test")),
    Claim("similarity-battery_xray", "skips", LONGER, "similarity.png", ("--similarity",)),
    Claim(
        "gradients-electrodes",
        "gradients",
        _names("electrodes", "unet", "unet_pp_one_head", "unet_pp", "fc_densenet"),
        "gradients.png",
        ("--steps=0,latest",),
    ),
    Claim("reuse-electrodes", "reuse", _names("electrodes", "fc_densenet"), "reuse.png"),
    Claim("reuse-battery_xray", "reuse", LONGER[1:], "reuse.png"),
    *(
        Claim(
            f"gap-{data}",
            "compare",
            tuple(pattern.format(data, variant) for variant in variants for pattern in OF_ALL_FRACTIONS),
            "gap.png",
            ("--splits=train,val", "--overwrite"),
            positional=True,
        )
        for data, variants in rows.SHARED.items()
    ),
)


def run_all(only: str, results: tables.Results, workdir: Path, programs: Programs) -> list[str]:
    """Runs the claims whose runs are done and writes them into the page.

    A claim over fractions and seeds needs one run that is done for each of its patterns.

    Args:
      only: a pattern of the names of claims.
      results: says which runs are done.
      workdir: the folder of the runs.
      programs: runs the commands.

    Returns:
      The names of the claims that were not written.

    Raises:
      UserError: no claim matches `only`.
    """
    not_done, chosen = [], [claim for claim in CLAIMS if fnmatch.fnmatch(claim.name, only)]
    if not chosen:
        raise UserError(
            f"--only={only}: no claim has such a name; the claims are {', '.join(claim.name for claim in CLAIMS)}"
        )
    for claim in chosen:
        names = [row.name for row in claim.matching_rows() if results.done(row.name) and (workdir / row.name).is_dir()]
        if not all(fnmatch.filter(names, pattern) for pattern in claim.runs):
            print(f"{claim.name}: the runs that it needs are not done in {workdir}")
            not_done.append(claim.name)
            continue
        print(f"\n== {claim.name}", flush=True)
        out = workdir / "claims" / claim.name
        out.mkdir(parents=True, exist_ok=True)
        program, *arguments = claim.command(str(workdir), names, str(out))
        if programs.run("-m", f"unet_jax.programs.{program}", *arguments, output=out / "printed.txt"):
            not_done.append(claim.name)
            continue
        write(claim, names, (out / "printed.txt").read_text(), workdir)
    return not_done


def write(claim: Claim, names: Sequence[str], printed: str, workdir: Path) -> None:
    """Writes a claim's command, what it printed and its picture into the page, and the picture into docs/images.

    Args:
      claim: the claim.
      names: the names of its runs.
      printed: what the command printed.
      workdir: the folder of the runs.
    """
    out = workdir / "claims" / claim.name
    picture = PICTURES / f"claim_{claim.name}.png"
    shutil.copyfile(out / claim.picture, picture)
    command = " ".join(["unet-jax", *claim.command(RUNS, _shortened(names), f"{RUNS}/claims/{claim.name}")])
    table = re.sub(r"^written: .*\n?", "", printed.replace(str(workdir), RUNS), flags=re.MULTILINE).strip()
    text = f"```text\n$ {command}\n\n{table}\n```\n\n![{claim.name}](../images/{picture.name})"
    tables.rewrite(PAGE, claim.name, text)


def _shortened(names: Sequence[str]) -> list[str]:
    """Returns the names; those of one network with several seeds or fractions become one pattern."""
    heads = [re.sub(r"-seed\d.*", "", name) for name in names]
    return list(
        dict.fromkeys(f"{head}-*" if heads.count(head) > 1 else name for head, name in zip(heads, names, strict=True))
    )
