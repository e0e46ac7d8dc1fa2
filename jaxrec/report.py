"""What a training tells: progress on the console, metrics.jsonl, TensorBoard events, a plot of its curves."""

import json
import math
import os
import time

import matplotlib
from rich.progress import BarColumn, Progress, TextColumn
from tensorboardX import SummaryWriter

from jaxrec import console as consoles
from jaxrec.files import replacing

matplotlib.use("Agg")

import matplotlib.pyplot as plt

QUIET_SECONDS = 30  # between lines where the console is a file


def read_rows(path):
    """The rows of a metrics.jsonl, up to a last one that was cut off in writing."""
    rows = []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return rows


class Report:
    """The outputs of one training, continued from a step."""

    def __init__(self, workdir, step, total_steps, spent, console=None):
        """
        Args:
            workdir: Path. step: where training goes on; rows of later steps are cut from metrics.jsonl.
            total_steps: of the whole training. spent: seconds of training before this run.
        """
        self.path = workdir / "metrics.jsonl"
        self.rows = [row for row in read_rows(self.path) if row["step"] <= step]
        with replacing(self.path) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        self.events = SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1, flush_secs=30)
        self.console = console or consoles.make()
        self.best, self.spent, self.total = "", spent, total_steps
        self.begun = self.spoke = time.monotonic()
        self.first, self.counted = step, time.monotonic()
        self.targets, self.training = 0, 0.0  # since the last row, evaluations and compilation left out
        self.rates = []
        name, text = (TextColumn(field, markup=False) for field in ("{task.description}", "{task.fields[text]}"))
        quiet = not self.console.is_terminal
        self.bar = Progress(name, BarColumn(), text, console=self.console, transient=True, disable=quiet)
        self.task = self.bar.add_task("training", total=total_steps, completed=step, text="")
        self.bar.start()

    def seconds(self):
        """Of training so far, earlier runs counted in."""
        return self.spent + time.monotonic() - self.begun

    def progress(self, step, loss, targets):
        """After every call: step reached, its mean loss, its real targets."""
        now = time.monotonic()
        rate = targets / max(now - self.counted, 1e-9)
        self.targets, self.training, self.counted = self.targets + targets, self.training + now - self.counted, now
        left = (now - self.begun) / max(step - self.first, 1) * (self.total - step)
        text = f"loss {loss:.4f}  {rate:,.0f} targets/s  {clock(left)} left at most  {self.best}"
        self.bar.update(self.task, completed=step, text=f"{step:,}/{self.total:,}  {text}")
        if not self.console.is_terminal and now - self.spoke > QUIET_SECONDS:
            self.say(f"step {step:,}/{self.total:,}  {text}")

    def skip(self):
        """Leave out of the rate what was done since the last call (an evaluation, a save)."""
        self.counted = time.monotonic()

    def row(self, row):
        """A row of metrics.jsonl: but for its "seconds", only what the same config and data always give."""
        self.rates.append(self.targets / max(self.training, 1e-9))
        self.targets, self.training = 0, 0.0
        with self.path.open("a") as file:
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
        for name, value in scalars.items():
            self.events.add_scalar(name, value, row["step"])

    def say(self, text):
        """A line on the console."""
        self.spoke = time.monotonic()
        self.bar.console.print(consoles.printable(text), soft_wrap=True)

    def close(self):
        """Stop the bar and flush the events."""
        self.bar.stop()
        self.events.close()


def clock(seconds):
    """Seconds as h:mm:ss or m:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def plot(rows, path, title, shown=("hr@10", "ndcg@10"), select_by="ndcg@10"):
    """Loss and validation curves of metrics.jsonl's rows, as a PNG.

    Args:
        shown: the metrics to draw; dashed where they are by the protocol that doesn't choose.
        select_by: the metric whose best validation is marked.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.plot([row["epoch"] for row in rows], [row["loss"] for row in rows])
    left.set(xlabel="epoch", ylabel="training loss", title=title)
    scored = [row for row in rows if "valid" in row]
    epochs = [row["epoch"] for row in scored]
    for number, name in enumerate(shown):
        values = [row["valid"].get(name, math.nan) for row in scored]
        right.plot(epochs, values, ".-", color=f"C{number}", label=name)
        for other in {other: None for row in scored for other in row.get("also", {})}:
            values = [row.get("also", {}).get(other, {}).get(name, math.nan) for row in scored]
            right.plot(epochs, values, ".--", color=f"C{number}", label=f"{name}, {other}", alpha=0.5)
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
        figure.savefig(temporary, format="png", dpi=120)
    plt.close(figure)
