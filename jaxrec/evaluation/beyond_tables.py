"""Prints the measures beyond accuracy."""

import itertools

from rich.console import Console
from rich.table import Table

from jaxrec.evaluation.metrics import KS
from jaxrec.evaluation.protocols import untold
from jaxrec.system import console as consoles

NAMES = {  # measure -> its displayed name
    "coverage": "coverage@{}",
    "gini": "Gini of exposure@{}",
    "novelty": "novelty@{}, bits",
    "diversity": "diversity@{}",
    "map": "MAP@{}",
}


def show(result: dict, console: Console) -> None:
    """Prints the tables of a result's `beyond_accuracy`: one for the lists, and one per kind of segment."""
    found = result["beyond_accuracy"]
    console.print(_of_lists(found, result))
    for by, segments in itertools.groupby(found["segments"], key=lambda each: each["by"]):
        console.print(_of_segments(by, list(segments), untold(result["protocol"]) == "sessions"))


def _of_lists(found, result):
    caption = f"{result['split']}, {result['protocol']}; similarity: {found['similarity']}"
    if found["diversity_lists"] < result["users"]:
        caption += f", of {found['diversity_lists']:,} lists"
    table = Table(title=f"beyond accuracy: the {found['k']:,} best", caption=consoles.printable(caption))
    for column in ("", "", "95%"):
        table.add_column(column, justify="right", style="dim" if column == "95%" else None, no_wrap=True)
    for name, value in found["metrics"].items():
        kind, _, k = name.partition("@")
        bounds = found["ci95"].get(name)
        table.add_row(NAMES[kind].format(k), f"{value:.4f}", _range(bounds) if bounds else "")
    return table


def _of_segments(by, segments, sessions):
    names = _shown(segments[0]["metrics"], sessions)
    table = Table(title=f"by {by}")
    for column in ("from", "to", "events" if sessions else "users"):
        table.add_column(column, justify="right")
    for name in names:
        table.add_column({"recall@20": "Recall@20"}.get(name, name.upper()), justify="right")
        table.add_column("95%", style="dim", justify="right", no_wrap=True)
    for each in segments:
        cells = [text for name in names for text in (f"{each['metrics'][name]:.4f}", _range(each["ci95"][name]))]
        table.add_row(_number(each["low"]), _number(each["high"]), f"{each['users']:,}", *cells)
    return table


def _shown(metrics, sessions):
    """Returns the metrics to show; for lists shorter than ten, those of the largest k."""
    if sessions:
        return "recall@20", "mrr@20"
    if "hr@10" in metrics:
        return "hr@10", "ndcg@10"
    most = max(k for k in KS if f"hr@{k}" in metrics)
    return f"hr@{most}", f"ndcg@{most}"


def _range(bounds):
    return "{:.4f} - {:.4f}".format(*bounds)


def _number(value):
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}"
