"""A small part of the fuzz of files: every kind of file at least once; and faults that are planted, which it must count."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz import data_files, images, mutations, run_files, weight_files
from tests.fuzz.outcomes import FAULTS, HANG, TRACEBACK, WRONG
from tests.fuzz.worker import Worker, judged, respond
from unet_jax.data.datasets import image_files
from unet_jax.errors import UserError
from unet_jax.pretrained import shipped


@pytest.mark.parametrize(
    ("kind", "count", "options"),
    [
        # A decoder that crashes must not end the tests.
        (images, 16, {"apart": True}),
        (data_files, 24, {}),
        (weight_files, 24, {}),
        # The other doors take seconds.
        (run_files, 14, {"doors": ("load",)}),
    ],
    ids=["images", "data files", "weight files", "run files"],
)
# Decoders warn of damage that they then raise for.
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_refused_or_do_no_harm(kind, count, options):
    outcomes = list(kind.outcomes(0, count, **({"apart": False} | options)))
    assert len(outcomes) >= count
    assert [outcome for outcome in outcomes if outcome.outcome in FAULTS] == []


def _shifted(read):
    return lambda path: np.roll(read(path), 1, axis=1)


def _lenient(read):
    def read_or_black(path):
        try:
            return read(path)
        except UserError:
            return np.zeros((*images.SIZE, 1), np.uint8)

    return read_or_black


@pytest.mark.parametrize(
    ("kind", "count", "module", "name", "plant"),
    [
        (images, 0, image_files, "read_image", _shifted),
        (images, 2, image_files, "read_image", _lenient),
        # Every record has the same check sum.
        (weight_files, 24, shipped, "json_sha256", lambda real: lambda record: "0"),
    ],
    ids=["another picture", "a damaged picture is black", "no check sum"],
)
@pytest.mark.filterwarnings("ignore")
def test_a_planted_fault_is_counted(kind, count, module, name, plant, monkeypatch):
    monkeypatch.setattr(module, name, plant(getattr(module, name)))
    assert WRONG in [outcome.outcome for outcome in kind.outcomes(0, count, apart=False)]


def answer(request):
    """Does what a request says, as a door would."""
    if request == "crash":
        os.abort()
    while request == "hang":
        pass
    return request


def test_a_process_that_crashes_or_hangs_is_started_again():
    with Worker("tests.fuzz.test_files", limit_s=0.5) as worker:
        assert worker.ask("a") == {"kind": "returned", "value": "a", "printed": ""}
        for request, wanted in (("crash", TRACEBACK), ("hang", HANG)):
            assert judged("a", "b", worker.ask(request), lambda value: "").outcome == wanted
            assert worker.ask("a")["value"] == "a"


def test_other_values_and_lines_are_judged():
    assert judged("a", "b", respond(answer, "x"), lambda value: f"is {value}") == ("a", WRONG, "b: is x")
    outcome = judged("a", "b", respond(lambda request: [][0], ""), lambda value: "")
    assert (outcome.outcome, "IndexError" in outcome.detail) == (TRACEBACK, True)


def test_damages_of_json_know_what_nobody_can_know(tmp_path):
    path = Path(tmp_path) / "a.json"
    for value, other, unknowable in ((1, 2.5, True), (True, 1, False), ("a", None, False), ([1], {}, False)):
        assert mutations.same_type(value, other) == unknowable
    assert not mutations.same_type(1, mutations.VALUES["NaN"])
    mutations.write(path, b"{}")
    assert path.read_bytes() == b"{}"
