"""Evaluation results, as plain values and as tables."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from jaxrec.data import splits
from jaxrec.data.files.text import some
from jaxrec.evaluation import beyond_tables, next_basket
from jaxrec.evaluation.metrics import KS
from jaxrec.evaluation.next_basket import TASK
from jaxrec.evaluation.protocols import FULL, KEPT, TOLD, untold, whole
from jaxrec.system import console as consoles


def result(
    protocol: str,
    part: str,
    ranks: np.ndarray,
    *,
    cold: int,
    seconds: float,
    repeats: int = 0,
    step: int | None = None,
    coverage: float | None = None,
    also: dict | None = None,
    source: np.ndarray | None = None,
) -> dict:
    """Returns an evaluation result as plain values.

    Args:
        protocol: name of the protocol.
        part: "test" or "valid".
        ranks: [Q].
        cold: number of targets that never occur in training.
        seconds: duration of the evaluation.
        repeats: number of targets that repeat an item of the history.
        step: step of the checkpoint; None for a baseline.
        coverage: coverage@10, if computed.
        also: {further protocol: (ranks, coverage)} of the same questions.
        source: [Q] the users, if a user's targets are one basket; None if each target is a question of its own.
    """
    others = {name: _measured(*values, source=source) for name, values in (also or {}).items()}
    return {
        "protocol": protocol,
        "split": part,
        **({} if source is None else {"task": TASK}),
        **next_basket.counted(ranks, source),
        **_measured(ranks, coverage, source),
        **({"also": others} if others else {}),
        "repeats": repeats,
        "cold_targets": cold,
        "step": step,
        "seconds": seconds,
    }


def with_query_time(result: dict) -> dict:
    """Marks every protocol of a result as one where the model was told when its targets occurred.

    This is another task, so its results must not go by the plain names.
    """
    told = result | {"protocol": result["protocol"] + TOLD}
    if "also" in result:
        told["also"] = {name + TOLD: found for name, found in result["also"].items()}
    return told


def _measured(ranks, coverage, source):
    found = next_basket.measured(ranks, source)
    return found if coverage is None else found | {"metrics": found["metrics"] | {"coverage@10": coverage}}


def apart(ranks: np.ndarray, cold: np.ndarray, source: np.ndarray | None = None) -> dict[str, dict]:
    """Returns {"users", "metrics", "ci95"} of "warm" targets, which occur in training, and of "cold" ones, which don't.

    Args:
        ranks: [Q].
        cold: [Q] bool.
        source: as for `result`; the part of a basket then counts as a basket, and "targets" is the number of items.
    """
    return {
        name: next_basket.counted(ranks[some], of) | next_basket.measured(ranks[some], of)
        for name, some in {"warm": ~cold, "cold": cold}.items()
        if some.any()
        for of in [None if source is None else source[some]]
    }


def by_measure(result: dict) -> dict[str, dict]:
    """Returns {protocol: {"metrics", "ci95"}} of a result in display order."""
    found = {result["protocol"]: {key: result[key] for key in ("metrics", "ci95")}} | result.get("also", {})
    return in_order(found)


def deciding(result: dict, seen: str) -> dict:
    """Returns the part of a result under the protocol that chooses the checkpoint, given `config.seen`."""
    return by_measure(result).get(KEPT, result) if seen == "keep" else result


def in_order(found: dict) -> dict:
    """Returns {protocol: value} in display order: `full, seen kept` first."""
    return dict(sorted(found.items(), key=lambda item: untold(item[0]) != KEPT))


def show(result: dict, title: str, console: Console | None = None) -> None:
    """Prints a result, a table per protocol: HR and NDCG, or for sessions Recall@20 and MRR@20 first."""
    console = console or consoles.make()
    found, sessions = by_measure(result), untold(result["protocol"]) == "sessions"
    asked = f"{result['users']:,} {'events' if sessions else 'users'}"
    for protocol, measured in found.items():
        caption = f"{result['split']}, {protocol}, {asked}, {result['seconds']:.1f} s"
        if "task" in result:
            caption += f"; {result['task']}: {result['targets']:,} items, means over users"
        if "target_types" in result:
            caption += f"; targets: {some(result['target_types'])} alone"
        if result["cold_targets"]:
            caption += f"; {result['cold_targets']:,} targets never occur in training"
        named = f"{title}: {protocol}" if len(found) > 1 else title
        console.print(_table(measured, sessions, consoles.printable(named), caption))
    if "apart" in result:
        targets = {name: part.get("targets", part["users"]) for name, part in result["apart"].items()}
        parts = {f"{name}: {targets[name]:,} targets": part["metrics"] for name, part in result["apart"].items()}
        title = "targets that occur in training, and those that don't"
        console.print(comparison(parts, SHOWN[sessions], title))
    words = splits.repeats_in_words(result["repeats"], result.get("targets", result["users"]))
    if result["repeats"]:
        words += _what_repeats_mean(untold(result["protocol"]), [untold(name) for name in found])
    console.print(consoles.printable(words), soft_wrap=True)


# metrics of a comparison: {whether the protocol is "sessions": metrics}
SHOWN = {False: ("hr@10", "ndcg@10"), True: ("recall@20", "mrr@20")}


def comparison(
    rows: Mapping[str, Mapping[str, float]], shown: Sequence[str] = ("hr@10", "ndcg@10"), title: str | None = None
) -> Table:
    """Returns a table of {name: metrics} with these metrics."""
    table = Table(title=title)
    for column in ("", *shown):
        column = {"recall@20": "Recall@20"}.get(column, column.upper())
        table.add_column(column, justify="right" if column else "left")
    for name, found in rows.items():
        table.add_row(name, *(f"{found[each]:.4f}" for each in shown))
    return table


class Evaluation:
    """The result of an evaluation, with 95% intervals, and baselines on the same questions. Its repr is its tables.

    Attributes:
        name: the model or baseline.
        result: the dictionary that `jaxrec evaluate --json` writes.
        title: title of the table.
        beside: {baseline: its result}, as `result`.
    """

    def __init__(
        self,
        name: str,
        result: dict,
        frame: Callable[[], pl.DataFrame],
        title: str = "",
        beside: Mapping[str, dict] = MappingProxyType({}),
    ):
        self.name, self.result, self.title, self.beside = name, result, title or name, dict(beside)
        self._frame = frame

    @property
    def metrics(self) -> dict[str, float]:
        """{"ndcg@10": ...} under the protocol of the evaluation."""
        return self.result["metrics"]

    @property
    def ci95(self) -> dict[str, list[float]]:
        """{"ndcg@10": [low, high]}: bootstrap intervals over the questions."""
        return self.result["ci95"]

    @property
    def ranks(self) -> pl.DataFrame:
        """A row per question, see `segments.frame`: user, target, rank under the main protocol, and more."""
        return self._frame()

    def show(self, console: Console | None = None) -> None:
        """Prints the tables."""
        console = console or consoles.make()
        show(self.result, self.title, console)
        if "beyond_accuracy" in self.result:
            beyond_tables.show(self.result, console)
        if not self.beside:
            return
        protocol = untold(self.result["protocol"])
        own = self.name + self.result["protocol"].removeprefix(protocol)  # baselines aren't told times
        results = {own: self.result, **self.beside}
        measured = {
            name: {untold(each): of for each, of in by_measure(found).items()} for name, found in results.items()
        }
        for each in measured[own]:
            rows = {name: found[each]["metrics"] for name, found in measured.items()}
            title = each if len(measured[own]) > 1 else None
            console.print(comparison(rows, SHOWN[protocol == "sessions"], title))

    def __repr__(self) -> str:
        return consoles.as_text(self.show)

    def _repr_html_(self) -> str:
        return consoles.as_html(self.show)


def _what_repeats_mean(protocol, found):
    if KEPT in found and FULL in found:
        return f". {FULL} ranks such a target without the history's other items, so too high; {KEPT} leaves nothing out"
    if not whole(protocol):
        return f", but {protocol} never samples the history's other items against it: --protocol full tells more"
    return ""


def _table(measured, sessions, title, caption):
    values, bounds = measured["metrics"], measured["ci95"]
    table = Table(title=title, caption=caption)
    baskets = "recall@10" in values
    recall = ("Recall@k", "95%") if baskets else ()
    for column in ("", "", "95%") if sessions else ("k", "HR@k", "95%", *recall, "NDCG@k", "95%"):
        table.add_column(column, justify="right", style="dim" if column == "95%" else None)

    def cells(name):
        return f"{values[name]:.4f}", "{:.4f} - {:.4f}".format(*bounds[name])

    if sessions:
        table.add_row("Recall@20", *cells("recall@20"))
        table.add_row("MRR@20", *cells("mrr@20"), end_section=True)
    known = [k for k in KS if f"hr@{k}" in values]  # lists only determine the smaller ones
    for k in known:
        if not sessions:
            more = cells(f"recall@{k}") if baskets else ()
            table.add_row(str(k), *cells(f"hr@{k}"), *more, *cells(f"ndcg@{k}"), end_section=k == known[-1])
        elif k != 20:  # with a single target, recall equals the hit rate
            table.add_row(f"Recall@{k}", *cells(f"hr@{k}"), end_section=k == known[-1])
    if "mrr" in values:
        table.add_row("MRR", *cells("mrr"))
    if "coverage@10" in values:
        table.add_row("coverage@10", f"{values['coverage@10']:.4f}")
    return table
