"""The result of a backtest: tables and a plot."""

import datetime
import itertools
import os
from pathlib import Path
from typing import Any, ClassVar

from rich.console import Console
from rich.table import Table

from jaxrec.evaluation.ageing import BY
from jaxrec.system import console as consoles
from jaxrec.system.figures import new_figure, save_figure
from jaxrec.system.files import replacing


class Backtest:
    """The result of a backtest. Its repr is its tables.

    Attributes:
        result: plain values, as written by `jaxrec backtest --json`: `tests` with dates and counts, and `rows` {model
            or baseline: `cells`, `ages` and `policies`, for continued models also `beside`, see `ageing.Ages`}.
        path: the folder of the trainings.
    """

    PLOT: ClassVar[str] = "backtest.png"

    def __init__(self, result: dict[str, Any], path: str | os.PathLike):
        self.result, self.path = result, Path(path)

    @property
    def rows(self) -> dict[str, dict]:
        """{model or baseline: {"cells", "ages", "policies"; for models also "parameters", "minutes", "epochs"}}."""
        return self.result["rows"]

    def show(self, console: Console | None = None) -> None:
        """Prints tables of the tests, and of NDCG@10 by test, by age of the model, and by retraining interval."""
        console, said = console or consoles.make(), self.result
        train = said["train_days"]
        past = "all before" if train == "all" else f"the {train:g} days before"
        title = f"{said['data']}: {said['folds']} tests of {said['test_days']:g} days, each after training on {past}"
        seeds = f", {said['seeds']} seeds" if said["seeds"] > 1 else ""
        types = f"; targets: {said['target_types']} alone" if "target_types" in said else ""
        console.print(consoles.printable(f"{title}; ranked by {said['protocol']}{seeds}{types}"), soft_wrap=True)
        for table in (self._tests(), self._by_test(), self._by_age(), self._by_policy()):
            console.print(table)
        for name, row in ((name, found["beside"]) for name, found in self.rows.items() if found.get("beside")):
            value, difference = _within(row["metrics"][BY], row["ci95"][BY]), row["difference"]
            told = f"{name}, in its {row['tests']} tests: {value}, compared with training from scratch "
            told += _within(difference[BY], difference["ci95"], "+")
            console.print(consoles.printable(told), soft_wrap=True)
        console.print("NDCG@10, ± half of its 95% interval; the second line is the difference from fresh models")

    def _tests(self):
        table = Table(title="the tests")
        for column in ("from", "events", "questions", "users asked", "new users", "new items", "not answered"):
            table.add_column(column, justify="right" if column != "from" else "left")
        for test in self.result["tests"]:
            counts = [f"{test[name]:,}" for name in ("events", "questions", "users", "new_users", "new_items")]
            least = min((self.newest(name, test["fold"])["unanswered"] for name in self.rows), default=0)
            table.add_row(self._begin(test), *counts, f"{least / test['questions']:.1%}")
        return table

    def _begin(self, test):
        """Returns the date on which a test begins, with the time for tests shorter than a day."""
        return test["since"][: 10 if self.result["test_days"] >= 1 else 16]

    def _table(self, title, columns):
        table = Table(title=title)
        for number, column in enumerate([*columns, *(consoles.printable(name, 30) for name in self.rows)]):
            table.add_column(column, justify="right" if number else "left", no_wrap=number < len(columns))
        return table

    def _by_test(self):
        table = self._table("by test, of the newest model", ("from",))
        for test in self.result["tests"]:
            cells = (self.newest(name, test["fold"]) for name in self.rows)
            table.add_row(self._begin(test), *(_within(cell["metrics"][BY], cell["ci95"][BY]) for cell in cells))
        return table

    def _by_age(self):
        table = self._table("by the age of the model", ("days", "tests", "not answered"))
        for rows in zip(*(found["ages"] for found in self.rows.values()), strict=True):
            counts = f"{rows[0]['age_days']:g}", str(rows[0]["tests"]), f"{rows[0]['unanswered']:.1%}"
            table.add_row(*counts, *map(_with_difference, rows))
        return table

    def _by_policy(self):
        table = self._table("by how often one retrains, over all tests", ("every", "trainings"))
        for rows in zip(*(found["policies"] for found in self.rows.values()), strict=True):
            often = "never again" if rows[0]["trainings"] == 1 else f"{rows[0]['every_days']:g} days"
            table.add_row(often, str(rows[0]["trainings"]), *map(_with_difference, rows))
        return table

    def newest(self, name: str, test: int) -> dict[str, Any]:
        """Returns the cell of a test for the newest training before it."""
        return max(
            (each for each in self.rows[name]["cells"] if each["asked"] == test), key=lambda each: each["trained"]
        )

    def plot(self, path: str | os.PathLike) -> None:
        """Saves a PNG with NDCG@10 over the tests, a line per training, and by age relative to fresh models."""
        figure = new_figure(11, 4.2)
        left, right = figure.subplots(1, 2)
        dates = [datetime.datetime.fromisoformat(test["since"]) for test in self.result["tests"]]
        for name, colour in zip(self.rows, itertools.cycle(f"C{number}" for number in range(10))):
            shown = consoles.printable(name, 30)
            self._draw_tests(left, dates, name, shown, colour)
            self._draw_ages(right, name, shown, colour)
        left.set(ylabel="NDCG@10", ylim=(0, None), xlabel="test from; faint: the same model in later tests")
        left.tick_params(axis="x", rotation=30)
        fresh = any("difference" in row for row in self._later())
        label = "NDCG@10 relative to a fresh model, 95%" if fresh else "NDCG@10"
        right.set(xlabel="age of the model in days", ylabel=label)
        left.set_title(consoles.printable(self.result["data"], 60), parse_math=False)
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(alpha=0.3)
            axes.legend(frameon=False, fontsize="small")
        with replacing(path) as temporary:
            save_figure(figure, temporary)

    def _draw_tests(self, axes, dates, name, shown, colour):
        for _, cells in itertools.groupby(self.rows[name]["cells"], key=lambda cell: cell["trained"]):
            each = list(cells)
            values = [cell["metrics"][BY] for cell in each]
            axes.plot([dates[cell["asked"]] for cell in each], values, color=colour, alpha=0.25, linewidth=1)
        newest = [self.newest(name, test) for test in range(len(dates))]
        values = [cell["metrics"][BY] for cell in newest]
        low, high = zip(*(cell["ci95"][BY] for cell in newest), strict=True)
        axes.plot(dates, values, ".-", color=colour, label=shown)
        axes.fill_between(dates, low, high, color=colour, alpha=0.12, linewidth=0)

    def _draw_ages(self, axes, name, shown, colour):
        rows = [row for row in self.rows[name]["ages"] if "difference" in row and row["fresh"][BY] > 0]
        if not any("difference" in row for row in self._later()):
            ages = self.rows[name]["ages"]
            axes.plot([row["age_days"] for row in ages], [row["metrics"][BY] for row in ages], ".-", label=shown)
            return
        share = [1 + row["difference"][BY] / row["fresh"][BY] for row in rows]
        bounds = [[1 + each / row["fresh"][BY] for each in row["difference"]["ci95"]] for row in rows]
        errors = [
            [max(value - low, 0) for value, (low, _) in zip(share, bounds, strict=True)],
            [max(high - value, 0) for value, (_, high) in zip(share, bounds, strict=True)],
        ]
        days = [row["age_days"] for row in rows]
        axes.errorbar(days, share, errors, fmt=".-", color=colour, capsize=2, label=shown)

    def _later(self):
        """Returns the rows of ages above 0."""
        return [row for found in self.rows.values() for row in found["ages"] if row["age_days"]]

    def __repr__(self) -> str:
        return consoles.as_text(self.show)

    def _repr_html_(self) -> str:
        return consoles.as_html(self.show)

    def _repr_png_(self) -> bytes | None:
        file = self.path / self.PLOT
        return file.read_bytes() if file.exists() else None


def _within(value, bounds, sign=""):
    """Formats a value with half the width of its interval."""
    return f"{value:{sign}.4f} ± {(bounds[1] - bounds[0]) / 2:.4f}"


def _with_difference(row):
    """Formats a metric, with the difference from fresh models below it if there is one."""
    value = _within(row["metrics"][BY], row["ci95"][BY])
    if "difference" not in row or row["difference"]["ci95"] == [0, 0]:
        return value
    return f"{value}\n{_within(row['difference'][BY], row['difference']['ci95'], '+')}"
