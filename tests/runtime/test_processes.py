"""What processes send each other, over a coordinator that lives in memory. (test_shared_workdir.py runs two processes.)"""

import ast
import math
import pickle
from pathlib import Path

import jax
import numpy as np
import pytest

from unet_jax.errors import UserError
from unet_jax.runtime import coordinator, parallel, processes

ROOT = Path(__file__).parents[2]
ODD = [None, True, 0, -(2**70), 0.1, -0.0, math.inf, "é", "\udcff.png", [[1, 1.0], []], {"": {"a": [False]}}]


class Memory:
    """A coordinator of two processes; the other process answers each message of this one, number `index`, by `answer`."""

    def __init__(self, answer=lambda message: message, index=0):
        self.values, self.answer, self.barriers = {}, answer, []
        self.mine, self.theirs = f"/{index}", f"/{1 - index}"

    def key_value_set_bytes(self, key, value):
        assert key not in self.values
        self.values[key] = value

    def wait_at_barrier(self, name, timeout_ms):
        self.barriers.append(name)
        *_, key = (key for key in self.values if key.endswith(self.mine))
        self.values[key.removesuffix(self.mine) + self.theirs] = self.answer(self.values[key])

    def blocking_key_value_get_bytes(self, key, timeout_ms):
        return self.values[key]

    def key_value_delete(self, key):
        del self.values[key]


@pytest.fixture
def connect(monkeypatch):
    """Makes this process the first of two."""
    monkeypatch.setattr(processes, "process_count", lambda: 2)
    monkeypatch.setattr(parallel, "process_count", lambda: 2)

    def to(answer=lambda message: message, index=0):
        memory = Memory(answer, index)
        monkeypatch.setattr(processes, "process_index", lambda: index)
        monkeypatch.setattr(processes, "_read_by_all", [])
        monkeypatch.setattr(coordinator, "client", lambda: memory)
        return memory

    return to


def test_values_arrive_as_they_are(connect):
    memory = connect()
    for value in ODD:
        received = processes.gather(value)
        assert list(map(repr, received)) == [repr(value)] * 2
    assert math.isnan(processes.gather(math.nan)[1])
    assert processes.on_process_0(lambda: [1.5, None]) == [1.5, None]
    processes.barrier("here")
    # Of each process, only its last message is kept.
    assert len([key for key in memory.values if key.endswith("/0")]) == 1
    assert len(set(memory.barriers)) == len(memory.barriers)


def test_arrays_arrive_as_they_are(connect):
    connect()
    arrays = {"b": np.arange(6, dtype=np.int64).reshape(2, 3), "a": np.float32(-0.0), "none": np.zeros((0, 4), bool)}
    for received in processes.gather_arrays(arrays):
        assert received.keys() == arrays.keys()
        for name, array in arrays.items():
            assert (received[name].dtype, received[name].shape) == (array.dtype, array.shape)
            assert received[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("value", [(1, 2), {1: "a"}, np.float32(1), Path("a"), b"a", [{"a": (1,)}], {"a": object()}])
@pytest.mark.parametrize("count", [1, 2])
def test_a_value_that_json_would_change_is_not_sent(connect, monkeypatch, value, count):
    connect()
    monkeypatch.setattr(processes, "process_count", lambda: count)
    with pytest.raises(TypeError, match="not sent to other processes"):
        processes.gather(value)
    with pytest.raises(TypeError, match="Python objects"):
        processes.gather_arrays({"a": np.array([None])})


class Harmful:
    def __reduce__(self):
        return pytest.fail, ("it was unpickled",)


NONSENSE = {
    "a pickle": pickle.dumps(Harmful()),
    "nothing": b"",
    "other bytes": b"\xff\x00" * 30,
    "a deep list": b"[" * 100_000 + b"\n",
    "JSON without a body": b'["value", 1, 0]',
    "a short body": b'["value", 1, 9]\n12345678',
    "another form": b'{"value": 1}\n',
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_named(connect, nonsense):
    connect(lambda message: nonsense)
    calls = (lambda: processes.gather(1), lambda: processes.gather_arrays({"a": np.zeros(2)}))
    for call in (*calls, lambda: processes.barrier("x"), lambda: processes.check_same({"a": 1})):
        with pytest.raises(UserError, match=r"process 1 sent \d+ bytes as unet_jax/\d+/1 .*same versions") as raised:
            call()
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("answer", "call", "message"),
    [
        (lambda sent: sent.replace(b'"value"', b'"arrays"'), lambda: processes.gather(3), "'arrays' .* 'value'"),
        (
            lambda sent: sent.replace(b"saved", b"compiled"),
            lambda: processes.barrier("saved"),
            "compiled.* 'barrier saved'",
        ),
        (lambda sent: sent.replace(b"true", b'"no"'), lambda: processes.gather(True), "'no', a str, .*a bool"),
        (
            lambda sent: sent.replace(b"float64[2]", b"float32[4]"),
            lambda: processes.gather_arrays({"tp": np.zeros(2), "z": np.zeros(1)}),
            r"process 1 .*'tp' as float32\[4\].* float64\[2\]",
        ),
        (
            lambda sent: sent.replace(b", 16]", b", 8]")[:-8],
            lambda: processes.gather_arrays({"tp": np.zeros(2)}),
            "process 1 .*8 bytes.* 16 bytes",
        ),
        (
            lambda sent: sent.replace(b'"seed": 0', b'"seed": 1'),
            lambda: processes.check_same({"a": 1, "seed": 0}, "give one seed"),
            "seed is 0 in process 0 and 1 in process 1; give one seed",
        ),
        (
            lambda sent: sent.replace(b"float32[2]", b"float32[3]"),
            lambda: parallel.broadcast({"w": np.zeros(2, np.float32)}),
            r"w.* is 'float32\[2\]' in process 0 and 'float32\[3\]' in process 1",
        ),
    ],
)
def test_what_does_not_fit_is_named(connect, answer, call, message):
    connect(answer)
    with pytest.raises(UserError, match=message):
        call()


def test_nan_is_the_same_as_nan(connect):
    connect()
    processes.check_same({"loss": math.nan})


def test_an_error_of_process_0_is_raised_in_all(connect):
    class Special(UserError):
        pass

    def refuse():
        raise Special("no room; free some")

    connect()
    with pytest.raises(Special, match="no room; free some"):
        processes.on_process_0(refuse)
    connect(lambda sent: sent.replace(b'"error": null', b'"error": "no room"'), index=1)
    with pytest.raises(UserError, match=r"^no room$"):
        processes.on_process_0(refuse)
    connect(lambda sent: sent.replace(b'"result": null', b'"result": [7]'), index=1)
    assert processes.on_process_0(refuse) == [7]
    connect(lambda sent: sent.replace(b"result", b"other"), index=1)
    with pytest.raises(UserError, match=r"process 0 .*'other'.*same versions"):
        processes.on_process_0(refuse)


def test_who_does_not_come_is_an_error_after_the_time(connect, monkeypatch):
    def late(*_):
        raise jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED: Barrier timed out.")

    monkeypatch.setattr(connect(), "wait_at_barrier", late)
    with pytest.raises(UserError, match=r"'value' within 5 s; start every process"):
        processes.gather(1, timeout_ms=5000)


def test_another_jax_is_refused(monkeypatch):
    from jax._src import distributed

    monkeypatch.setattr(distributed.global_state, "client", object())
    with pytest.raises(UserError, match=rf"jax {jax.__version__} .*wait_at_barrier, .*install"):
        coordinator.client()
    monkeypatch.delattr(distributed, "global_state")
    with pytest.raises(UserError, match=r"global_state.*one process"):
        coordinator.client()
    assert all(callable(getattr(jax._src.lib._jax.DistributedRuntimeClient, name)) for name in coordinator.METHODS)


def test_private_modules_are_imported_in_one_place_and_nothing_is_unpickled():
    """The encoder weights of torch only name the error of a pickle; `state_dict.py` reads them with `weights_only`."""
    private, pickles = set(), set()
    for path in (*ROOT.glob("unet_jax/**/*.py"), *ROOT.glob("benchmarks/*.py"), *ROOT.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Attribute) and node.attr == "_src":
                names = ["_src"]
            for name in names:
                parts = name.split(".")
                if parts[0] != "unet_jax" and any(part.startswith("_") for part in parts):
                    private.add(path.relative_to(ROOT).as_posix())
                if {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"} & set(parts):
                    pickles.add(path.relative_to(ROOT).as_posix())
    assert private == {"unet_jax/runtime/coordinator.py"}
    assert pickles == {"unet_jax/models/encoders/state_dict.py"}
