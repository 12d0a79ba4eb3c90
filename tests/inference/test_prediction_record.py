"""The record of a prediction, when several processes write it."""

import pytest
from etils.epath import Path

from unet_jax.errors import UserError
from unet_jax.inference import record
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
