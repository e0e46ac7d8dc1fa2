"""Summarises a data set as facts, as text and as a plot."""

import shlex
from collections import Counter
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from jaxrec.data import blocks, event_types
from jaxrec.data.files.text import shown, some
from jaxrec.data.filters import Step, repeats_at_once
from jaxrec.data.interactions import Interactions, describe
from jaxrec.data.storage import maps
from jaxrec.data.storage.ragged import stable_order
from jaxrec.data.values.plausible import date
from jaxrec.system.console import printable

CROWD, SHARE = 1_000, 0.01  # with more users than these, a user with a larger share of the rows is suspicious


def facts(data: Interactions) -> dict:
    """Returns counts, quantiles of the lengths, density, range of times, repeats and duplicates, as plain values."""
    counted, ends = Counter(), []
    for block in blocks.of(data):
        counted.update(_repeats(block.data), at_once=int(repeats_at_once(block.data).sum()), tied=_tied(block.data))
        if block.data.times is not None and len(block.data.times):
            ends += [int(block.data.times.min()), int(block.data.times.max())]
    return describe(data) | {
        "short_users": int((np.diff(data.offsets) < 3).sum()),
        "sessions": None if data.sessions is None else len(data.sessions.ids),
        "train_sessions": data.train_sessions,
        "times": None if data.times is None else _times(min(ends), max(ends), data.relative),
        "tied": None if data.times is None or not len(data.times) else counted["tied"] / len(data.times),
        "repeats_at_once": counted["at_once"],
        "repeats": counted["repeats"],
        "duplicates": None if data.times is None else counted["duplicates"],
        **({} if data.types is None else {"types": event_types.counts(data.types)}),
    }


def _times(least: int, most: int, relative: bool) -> dict:
    if relative:
        return {"relative": True, "days": (most - least) / 86_400e6}
    return {"relative": False, "first": date(least), "last": date(most), "days": (most - least) / 86_400e6}


def _tied(data: Interactions) -> int:
    """Returns the number of rows with the same time as the user's previous row."""
    if data.times is None:
        return 0
    same = data.times[1:] == data.times[:-1]
    begins = data.offsets[:-1][np.diff(data.offsets) > 0]
    same[begins[begins > 0] - 1] = False
    return int(same.sum())


def heavy(data: Interactions) -> list[tuple[str, float]]:
    """Returns (id, share of the rows) of users with over 1% of the rows, if there are over a thousand users."""
    lengths = np.diff(data.offsets)
    if len(lengths) <= CROWD:
        return []
    found = np.flatnonzero(lengths > SHARE * len(data.items))
    found = found[np.argsort(-lengths[found], kind="stable")]
    return [(str(data.users[user]), float(lengths[user] / len(data.items))) for user in found.tolist()]


def warning(user: str, share: float, users: int) -> str:
    """Returns a warning about a user from `heavy`."""
    return (
        f"warning: {user!r} alone has {share:.1%} of the rows, among {users:,} users: a machine, or a marker for "
        "missing values? --max-length N leaves out users with more than N rows"
    )


def padding(data: Interactions) -> list[str]:
    """Returns a warning about an item that seems to fill histories up to one length, as 0 does in [5, 8, 0, 0].

    It does if all users have the same number of rows, and it occurs only in runs at the ends of histories, or only at
    their beginnings, and these runs have several lengths.
    """
    length, uneven = divmod(len(data.items), len(data.users) or 1)
    if uneven or length < 3 or (np.diff(data.offsets) != length).any():
        return []
    found = []
    for step in (1, -1):
        of_all = lambda step=step: (block.data.items.reshape(-1, length)[:, ::step] for block in blocks.of(data))
        item = int(np.bincount(np.concatenate([items[:, 0].copy() for items in of_all()])).argmax())
        runs, rows = [], 0
        for items in of_all():
            other = items != item
            runs.append(np.where(other.any(1), other.argmax(1), length))
            rows += other.size - np.count_nonzero(other)
        runs = np.concatenate(runs)
        if rows == runs.sum() and len(np.unique(runs[runs > 0])) > 1:
            found.append((rows, str(data.catalogue.ids[item - 1])))
    only = lambda id: f"--only {shlex.quote(f'COLUMN!={id}')}"
    return [
        f"warning: every history has {length:,} rows, and item {shown(id)} is in {rows:,} of them, all at one end: it "
        f"is read like any other item. If it is only padding, leave it out: {only(id)} with the items' column, or "
        "a file without it"
        for rows, id in sorted(found)[-1:]
    ]


def _repeats(data: Interactions) -> dict[str, int]:
    """Returns the number of rows that repeat an item of the user, and of those at the same time as the repeated one."""
    pair = np.repeat(np.arange(len(data.users)) * (len(data.catalogue.ids) + 1), np.diff(data.offsets))
    pair += data.items
    ordered = np.sort(pair)
    repeats = int((ordered[1:] == ordered[:-1]).sum())
    del ordered
    if data.times is None or not repeats:
        return {"repeats": repeats, "duplicates": 0}
    order = stable_order(pair)
    pair = pair[order]
    again = np.flatnonzero(pair[1:] == pair[:-1])
    return {"repeats": repeats, "duplicates": int((data.times[order[again]] == data.times[order[again + 1]]).sum())}


def show(told: dict, steps: list[Step], splits: dict[str, str], console: Console) -> None:
    """Prints the steps and the facts.

    Args:
        told: the facts, as from `facts`.
        steps: the filters' steps.
        splits: {name: description of the split}.
        console: where to print.
    """
    table = Table()
    for column in ("", "users", "items", "rows", "removed"):
        table.add_column(column, justify="right" if column else "left")
    for before, step in zip([None, *steps], steps, strict=False):
        removed = f"{before.rows - step.rows:,}" if before else ""
        counts = ("" if count is None else f"{count:,}" for count in (step.users, step.items, step.rows))
        table.add_row(printable(step.name, 60), *counts, removed)
    console.print(table)
    length, times = told["length"], told["times"]
    short = f"{told['short_users']:,} users with fewer than three rows, used for training only"
    repeats = f"{told['repeats']:,} rows repeat an item of the user, {told['repeats_at_once']:,} of them immediately"
    lines = [
        ("length", ", ".join(f"{name} {value:.0f}" for name, value in length.items() if name != "mean")),
        ("", f"mean {length['mean']:.1f}; {short}"),
        ("density", f"{told['density']:.3%}"),
        ("repeats", repeats),
    ]
    if told["duplicates"]:
        words = f"{told['duplicates']:,} of them at the same time: duplicate rows? They were kept"
        lines.append(("", f"{words}; --drop-duplicates leaves out equal ones"))
    if types := told.get("types"):
        unknown = told["interactions"] - sum(types.values())
        named = [f"{shown(name)} {number:,}" for name, number in types.items()]
        lines.append(("types", some([*named, f"not known {unknown:,}"] if unknown else named, 30)))
    if told["sessions"]:
        lines.append(("sessions", f"{told['sessions']:,}"))
    if times is None:
        lines.append(("times", "none: the order of the file"))
    elif times["relative"]:
        lines.append(("times", f"from an unknown moment, over {times['days']:,.1f} days: an order, no dates"))
    else:
        lines.append(("times", f"{times['first']} to {times['last']} UTC, {times['days']:,.1f} days"))
    if told["tied"]:
        share = "under 1%" if told["tied"] < 0.01 else f"{told['tied']:.0%}"
        tied = f"{share} of the rows have the same time as the row before: these keep the order of the file"
        lines.append(("", tied))
    lines += [(f"split={name}", words) for name, words in splits.items()]
    for name, words in lines:
        console.print(printable(f"{name:<16} {words}"), soft_wrap=True)


def plot(data: Interactions, path: str | Path, name: str) -> None:
    """Saves a PNG with histograms of lengths and times, and the items' popularity by rank."""
    from jaxrec.system.figures import new_figure, save_figure

    times = None if data.relative else data.times
    dated = times is not None
    figure = new_figure(12 if dated else 8, 3.2)
    axes = figure.subplots(1, 3 if dated else 2)
    lengths = np.diff(data.offsets)
    edges = np.unique(np.geomspace(1, lengths.max() + 1, 40).astype(int))
    axes[0].stairs(np.histogram(lengths, edges)[0] / np.diff(edges), edges, fill=True)
    axes[0].set(xscale="log", xlabel="rows of a user", ylabel="users per length")
    axes[0].set_title(printable(name, 80), parse_math=False)
    counts = np.zeros(len(data.catalogue.ids) + 1, np.int64)
    for part in maps.pieces(data.items):
        counts += np.bincount(part, minlength=len(counts))
    counts = -np.sort(-counts[1:])
    axes[1].plot(np.arange(1, len(counts) + 1), counts)
    axes[1].set(xscale="log", yscale="log", xlabel="item, by popularity", ylabel="rows")
    if dated:
        axes[2].hist(
            np.asarray(maps.take(times, np.arange(0, len(times), max(len(times) // 10**6, 1))), "datetime64[us]"), 60
        )
        axes[2].set(xlabel="time", ylabel="rows" if len(times) < 2 * 10**6 else "rows, of a sample")
        axes[2].tick_params(axis="x", rotation=30)
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)
