"""TensorBoard's files: what is in them, and a disk that fills while they are written."""

import io
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
from tensorboardX import record_writer
from tensorboardX.proto.event_pb2 import Event

from gca_jax.files import write_json
from gca_jax.training.log import Writer, show
from gca_jax.workdir import RunFolder
from tests.test_workdir import RECORD


@pytest.fixture
def folder(tmp_path):
    write_json(tmp_path / "config.json", RECORD)
    return RunFolder(tmp_path)


def events(folder):
    """All events of a run's files: of each its length, a checksum, itself, and a checksum."""
    for path in sorted((folder.path / "tensorboard").iterdir()):
        file = io.BytesIO(path.read_bytes())
        while head := file.read(12):
            yield Event.FromString(file.read(struct.unpack("<Q", head[:8])[0]))
            file.read(4)


def test_what_is_logged_is_on_the_disk_at_once_and_in_order(folder):
    writer = Writer(folder, 4)
    writer.write(5, {"loss": 0.5, "block_size": 3.0})
    version, *found = events(folder)
    assert version.file_version == "brain.Event:2"
    assert [each.step for each in found] == [5, 5, 5]  # what is there of 5 and later is dropped
    assert [each.session_log.status for each in found] == [0, 1, 0]
    (value,) = found[2].summary.value
    assert (value.tag, value.simple_value) == ("loss", 0.5)
    writer.close()
    show(folder, 5, {"picture": np.zeros((4, 4, 3), np.uint8)})
    tags = [value.tag for each in events(folder) for value in each.summary.value]
    assert tags == ["loss", "picture", "config/text_summary"]


@pytest.mark.parametrize("size", [4, 400])
def test_a_disk_that_fills_ends_in_an_error_and_waits_for_no_thread(folder, monkeypatch, size):
    """The file is one to which nothing can be written, found out at once or when it is flushed."""
    monkeypatch.setattr(record_writer, "open_file", lambda path: Path("/dev/full").open("wb"))  # noqa: SIM115
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    before = {*threading.enumerate()}  # of other tests
    said = rf"No space left on device: '{folder.path}/tensorboard'"
    with pytest.raises(OSError, match=said):
        show(folder, 5, {"picture": noise})
    writer = Writer(folder, 4)
    with pytest.raises(OSError, match=said):
        writer.write(5, {"loss": 0.5})
    for step in range(6, 50):  # more than the queue of tensorboardX holds
        writer.write(step, {"loss": 0.5})
    writer.close()
    assert all(thread.daemon for thread in {*threading.enumerate()} - before)
