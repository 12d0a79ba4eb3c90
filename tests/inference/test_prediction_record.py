"""The record of a prediction, when several processes write it."""

import threading

import jax
import pytest
from etils.epath import Path
from helpers.grey_images import write_grey
from helpers.known_network import predictor

from unet_jax.errors import UserError
from unet_jax.inference import record
from unet_jax.inference.folder import predict_folder
from unet_jax.inference.record import Record

FIRST = Record({"mode": "fast"}, {"a": {"bytes": 1}})


@pytest.mark.parametrize("mode", ["fast", "accurate"])
def test_two_predictions_that_begin_at_once(tmp_path, monkeypatch, mode):
    """One finds no record and is about to write its own when the other has written one."""
    create, mine = record.paths.create_whole, Record({"mode": mode}, {"b": {"bytes": 2}})

    def late(path, content):
        assert create(path, FIRST.content())
        return create(path, content)

    monkeypatch.setattr(record.paths, "create_whole", late)
    if mode == "fast":
        record.write(Path(tmp_path), mine)
        assert record.read(Path(tmp_path)) == Record(FIRST.settings, {"a": {"bytes": 1}, "b": {"bytes": 2}})
    else:
        with pytest.raises(UserError, match="another prediction has begun to write there"):
            record.write(Path(tmp_path), mine)
        assert record.read(Path(tmp_path)) == FIRST


def test_images_that_two_processes_add_at_once_are_all_kept(tmp_path, monkeypatch):
    out, write_whole = Path(tmp_path), record.paths.write_whole
    record.write(out, FIRST)
    others = [Record(FIRST.settings, {"a": {"bytes": 1}, "c": {"bytes": 3}}).content()]

    def overwritten(path, content):
        """The other process read the record before this one wrote it, and writes its own after that."""
        write_whole(path, content)
        if others:
            write_whole(path, others.pop())

    monkeypatch.setattr(record.paths, "write_whole", overwritten)
    record.write(out, Record(FIRST.settings, {"b": {"bytes": 2}}))
    # Those of the last writer and these; the images of a record that was overwritten stay, where it had been read.
    assert set(record.read(out).images) == {"a", "b", "c"}


def test_what_is_no_record_is_refused(tmp_path):
    assert record.read(Path(tmp_path)) is None
    for text in ("[]", '{"images": {}}', '{"settings": {}, "images": []}'):
        (tmp_path / record.NAME).write_text(text)
        with pytest.raises(UserError, match=r"prediction\.json .*write to another folder"):
            record.read(Path(tmp_path))


def test_parts_of_images_are_added(tmp_path):
    out, part = Path(tmp_path), {"tile": 64, "approximate": True}
    record.write(out, FIRST)
    record.add_parts(out, {"a": [part]})
    record.add_parts(out, {"b": [part]})
    # They stay when a prediction with the same settings begins.
    record.write(out, Record(FIRST.settings, {"b": {"bytes": 2}}))
    assert record.read(out).parts == {"a": [part], "b": [part]}
    assert set(record.read(out).images) == {"a", "b"}


def test_parts_that_two_processes_add_at_once_are_all_kept(tmp_path, monkeypatch):
    """One has read the record and is about to write it when the other begins. Threads have locks of their own, too."""
    out, write_whole, others = Path(tmp_path), record.paths.write_whole, []
    record.write(out, FIRST)

    def late(path, content):
        if not others:
            others.append(threading.Thread(target=record.add_parts, args=(out, {"b": []})))
            others[0].start()
            # It waits for the lock, and then for the file that this one writes.
            others[0].join(0.3)
        write_whole(path, content)

    monkeypatch.setattr(record.paths, "write_whole", late)
    record.add_parts(out, {"a": []})
    others[0].join()
    assert record.read(out).parts == {"a": [], "b": []}
    assert [path.name for path in tmp_path.iterdir()] == [record.NAME]


def test_predictions_of_other_memory_that_begin_at_once(tmp_path, monkeypatch):
    out = Path(tmp_path)
    create, read = record.paths.create_whole, record.read
    first, second = (Record({"memory": memory}, {}) for memory in (5, 6))
    monkeypatch.setattr(record.paths, "create_whole", lambda path, _: create(path, first.content()) and False)
    with pytest.raises(UserError, match="other memory; start this one again, or give all of them the same --memory"):
        record.write(out, second)
    assert read(out) == first


@pytest.mark.parametrize(
    ("memory", "expected"), [(5, 5), ([5, 5], 5), ([5, 6], ""), ([], ""), (0, ""), ("5", ""), (True, ""), (None, "")]
)
def test_memory_of_a_record(tmp_path, memory, expected):
    assert record.memory_of(Path(tmp_path)) == ""
    record.write(Path(tmp_path), Record({"memory": memory}, {}))
    assert record.memory_of(Path(tmp_path)) == expected


def test_an_approximate_image_is_counted(tmp_path):
    write_grey(tmp_path / "images/a.png", (90, 80), 100)
    write_grey(tmp_path / "images/b.png", (8, 8), 100)
    # A network that does not say on which sizes it works is blended.
    info = predict_folder(
        predictor(memory="100KiB", devices=jax.local_devices()[:1]), tmp_path / "images", tmp_path / "out"
    )
    assert (info["num_images"], info["num_approximate"]) == (2, 1)
    ((part,),) = record.read(Path(tmp_path / "out")).parts.values()
    assert (part["height"], part["width"], part["tile"], part["approximate"]) == (90, 80, 64, True)
