"""The outputs of a training: progress on the console, metrics.jsonl, TensorBoard events, and a plot."""

import json
import logging
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from jaxrec.system import checksums, console as consoles
from jaxrec.system.figures import new_figure, save_figure
from jaxrec.system.files import replacing, writing
from jaxrec.training.tensorboard import Events

QUIET_SECONDS = 30  # between lines if the console is a file
log = logging.getLogger("jaxrec")


def read_rows(path: Path) -> list[dict]:
    """Returns the rows of a metrics.jsonl that can be read; an incomplete last row is left out."""
    return _read(path)[0]


def _read(path):
    """The rows, and whether the file holds anything else, apart from an incomplete last row."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return [], False
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    rows = [_row(line) for line in lines]
    return [row for row in rows if row], None in rows


def _row(line):
    try:
        row = json.loads(line)
        measured = [row.get("valid", {}), *row.get("also", {}).values()]
        numbers = [row["step"], row["epoch"], row["loss"], *(number for each in measured for number in each.values())]
        return row if isinstance(row["step"], int) and all(isinstance(each, int | float) for each in numbers) else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


class MetricWriter:
    """Writes the outputs of a training, from a given step on."""

    def __init__(
        self,
        workdir: Path,
        step: int,
        total_steps: int,
        spent: float,
        console: Console | None = None,
        checksum: str | None = None,
    ):
        """
        Args:
            workdir: Path of the workdir.
            step: the step at which training continues; rows of later steps are removed from metrics.jsonl.
            total_steps: the number of steps of the whole training.
            spent: the seconds of training in earlier runs.
            console: for progress; a new one by default.
            checksum: the checksum of the rows up to the step, as `checksum` returned it then; None if unknown.
        """
        self.path = workdir / "metrics.jsonl"
        rows, is_damaged = _read(self.path)
        self.rows = [row for row in rows if row["step"] <= step]
        if is_damaged or checksum not in (None, self.checksum()):
            self._keep_damaged(is_damaged)
        with replacing(self.path) as temporary:
            temporary.write_text(self._text())
        with writing(workdir / "tensorboard"):
            self.events = Events(workdir / "tensorboard", step)
        self.console = console or consoles.make()
        self.best, self.spent, self.total = "", spent, total_steps
        self.begun = self.spoke = time.monotonic()
        self.first, self.counted = step, time.monotonic()
        self.targets, self.training = 0, 0.0  # since the last row, evaluations and compilation left out
        self.rates = []
        name, text = (TextColumn(field, markup=False) for field in ("{task.description}", "{task.fields[text]}"))
        quiet = not consoles.can_show_bars(self.console)
        self.bar = Progress(name, BarColumn(), text, console=self.console, transient=True, disable=quiet)
        self.task = self.bar.add_task("training", total=total_steps, completed=step, text="")
        self.bar.start()

    def checksum(self) -> str:
        """Returns the checksum of the rows so far."""
        return checksums.of_text(self._text())

    def _text(self):
        return "".join(json.dumps(row) + "\n" for row in self.rows)

    def _keep_damaged(self, is_damaged):
        """Warns that metrics.jsonl is damaged, and keeps a copy unless there is one already."""
        names = [f"{self.path.name}.damaged", *(f"{self.path.name}.damaged-{n}" for n in range(2, 100))]
        there = [name for name in names if os.path.lexists(self.path.with_name(name))]
        kept = self.path.with_name(next((name for name in names if name not in there), names[-1]))
        said = "is damaged" if self.path.exists() else "is gone"
        if there and not is_damaged:
            said = f"lacks rows since it was damaged: a copy is kept as {there[-1]}"
        elif self.path.exists():
            said += f": a copy is kept as {kept.name}"
            with replacing(kept) as temporary:
                temporary.write_bytes(self.path.read_bytes())
        said = f"{self.path} {said}; training goes on with its {len(self.rows)} sound rows"
        log.warning("%s", consoles.printable(said))

    def seconds(self) -> float:
        """Returns the seconds of training so far, including earlier runs."""
        return self.spent + time.monotonic() - self.begun

    def progress(self, step: int, loss: float, targets: float) -> None:
        """Shows progress after a call.

        Args:
            step: the step that was reached.
            loss: the mean loss of the call.
            targets: the number of targets of the call.
        """
        now = time.monotonic()
        rate = targets / max(now - self.counted, 1e-9)
        self.targets, self.training, self.counted = self.targets + targets, self.training + now - self.counted, now
        left = (now - self.begun) / max(step - self.first, 1) * (self.total - step)
        text = f"loss {loss:.4f}  {rate:,.0f} targets/s  at most {clock(left)} left  {self.best}"
        self.bar.update(self.task, completed=step, text=f"{step:,}/{self.total:,}  {text}")
        if not self.console.is_terminal and now - self.spoke > QUIET_SECONDS:
            self.log(f"step {step:,}/{self.total:,}  {text}")

    def skip(self) -> None:
        """Excludes the time since the last call from the rate, as after an evaluation or a save."""
        self.counted = time.monotonic()

    def row(self, row: dict) -> None:
        """Writes a row. Except for its "seconds", it is the same for the same config and data."""
        self.rates.append(self.targets / max(self.training, 1e-9))
        self.targets, self.training = 0, 0.0
        with writing(self.path), self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows.append(row)
        scalars = {"train/loss": row["loss"], "train/gradient_norm": row["norm"]}
        scalars |= {"train/rate": row["rate"]} if "rate" in row else {}
        scalars |= {f"valid/{name}": value for name, value in row.get("valid", {}).items()}
        for protocol, found in row.get("also", {}).items():
            scalars |= {f"valid {protocol}/{name}": value for name, value in found.items()}
        scalars["train/targets_per_second"] = self.rates[-1]
        with writing(self.events.folder):
            self.events.add(scalars, row["step"])

    def log(self, text: str) -> None:
        """Prints a line on the console."""
        self.spoke = time.monotonic()
        self.bar.console.print(consoles.printable(text), soft_wrap=True)

    def close(self) -> None:
        """Stops the progress bar and closes the event file."""
        self.bar.stop()
        with writing(self.events.folder):
            self.events.close()


def clock(seconds: float) -> str:
    """Formats seconds as h:mm:ss or m:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def plot(
    rows: list[dict], path: Path, title: str, shown: Sequence[str] = ("hr@10", "ndcg@10"), select_by: str = "ndcg@10"
) -> None:
    """Writes loss and validation curves of the rows of metrics.jsonl as a PNG.

    Args:
        rows: as `read_rows` returns them.
        path: the file.
        title: the title of the plot.
        shown: the metrics to draw; under protocols other than the one that selects the checkpoint they are dashed.
        select_by: the metric whose best validation is marked.
    """
    figure = new_figure(10, 4)
    left, right = figure.subplots(1, 2)
    left.plot([row["epoch"] for row in rows], [row["loss"] for row in rows])
    left.set(xlabel="epoch", ylabel="training loss")
    left.set_title(consoles.printable(title, 80), parse_math=False)
    scored = [row for row in rows if "valid" in row]
    epochs = [row["epoch"] for row in scored]
    for number, name in enumerate(shown):
        values = [row["valid"].get(name, math.nan) for row in scored]
        right.plot(epochs, values, ".-", color=f"C{number}", label=name)
        for other in {other: None for row in scored for other in row.get("also", {})}:
            values = [row.get("also", {}).get(other, {}).get(name, math.nan) for row in scored]
            right.plot(epochs, values, ".--", color=f"C{number}", label=f"{name}, {other}", alpha=0.5)
    scored = [row for row in scored if select_by in row["valid"]]
    if scored:
        best = max(scored, key=lambda row: row["valid"][select_by])
        right.axvline(
            best["epoch"], color="grey", linewidth=0.8, linestyle="--", label=f"best, epoch {best['epoch']:g}"
        )
        right.legend()
    right.set(xlabel="epoch", title="validation", ylim=(0, None))
    for axes in (left, right):
        axes.grid(alpha=0.3)
    with replacing(path) as temporary:
        save_figure(figure, temporary)
