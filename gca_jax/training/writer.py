"""What is logged while a run trains: `metrics.jsonl` and TensorBoard files."""

import json
import math
import pathlib

from tensorboardX import SummaryWriter


class Writer:
    """Appends rows of scalars to the log of a run that continues from a step.

    What was logged after it, by a session that did not live to save it, is dropped, so that every
    step is there once.
    """

    def __init__(self, workdir: pathlib.Path, step: int):
        path = workdir / "metrics.jsonl"
        rows = path.read_text().splitlines(keepends=True) if path.exists() else []
        path.write_text("".join(row for row in rows if _is_before(row, step)))
        self._file = path.open("a")
        self._events = SummaryWriter(
            str(workdir / "tensorboard"), purge_step=step + 1, flush_secs=10
        )

    def write(self, step: int, row: dict[str, float]) -> None:
        """Log one row; a number that is not finite becomes null."""
        finite = {key: value if math.isfinite(value) else None for key, value in row.items()}
        self._file.write(json.dumps({"step": step, **finite}) + "\n")
        self._file.flush()
        for key, value in row.items():
            self._events.add_scalar(key, value, step)

    def close(self) -> None:
        """Write out what is buffered."""
        self._file.close()
        self._events.close()


def _is_before(row: str, step: int) -> bool:
    """Ask whether a row belongs to what was saved; the last may have been cut off by a kill."""
    return row.endswith("\n") and json.loads(row)["step"] <= step
