"""Makes events.tfevents with TensorBoard's own writer. Made with tensorboard 2.21.

    pip install tensorboard && python tests/golden/events.py
"""

from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

SERIES = {
    "loss": [(1, 2.5), (128, 0.1), (300_000, 1e-9)],
    "validation/score": [(0, 33.3), (2**32 - 1, -7.0)],
}

with open(Path(__file__).with_name("events.tfevents"), "wb") as file:
    writer = RecordWriter(file)
    writer.write(Event(file_version="brain.Event:2").SerializeToString())
    for tag, points in SERIES.items():
        for step, value in points:
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            writer.write(Event(step=step, summary=summary).SerializeToString())
    writer.flush()
