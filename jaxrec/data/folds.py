"""Rolling folds over absolute time, for backtests without knowledge of the future."""

import math
from dataclasses import fields, replace
from typing import NamedTuple

import numpy as np

from jaxrec.data import event_types, filters
from jaxrec.data.interactions import Interactions
from jaxrec.data.log import sessions_of
from jaxrec.data.splits import Questions, Split, SplitEntry, quantile
from jaxrec.data.storage.ragged import slices
from jaxrec.data.values.plausible import date
from jaxrec.system.errors import UserError

SECOND, DAY = 1_000_000, 86_400_000_000  # microseconds
ALL, LAST = TARGETS = "all", "last"  #: test events to ask for: all, or each user's last


class Period(NamedTuple):
    """A period [since, until), in microseconds since 1970, UTC."""

    since: int
    until: int

    def holds(self, times: np.ndarray) -> np.ndarray:
        """Returns which times lie in the period. [N] -> [N] bool"""
        return (times >= self.since) & (times < self.until)


class Fold(NamedTuple):
    """A test period and the training window before it: window.until is test.since."""

    window: Period
    test: Period


class Asked(NamedTuple):
    """The questions of all folds, by the index of their targets in the log."""

    user: np.ndarray  #: [Q] index of the user
    at: np.ndarray  #: [Q] index of the target among the log's interactions
    fold: np.ndarray  #: [Q] index of the fold


def plan(data: Interactions, train_days: float | None, test_days: float, number: int) -> list[Fold]:
    """Returns consecutive folds whose last test ends with the log. All begin at whole seconds.

    Args:
        data: Interactions.
        train_days: length of the window before each test; None for all time before it.
        test_days: length of a test.
        number: number of folds.

    Raises:
        UserError: if times are missing or relative, or the log is too short; the message says what would fit.
    """
    if data.times is None or data.relative:
        lack = "has no times" if data.times is None else "has times that count from an unknown moment"
        raise UserError(
            f"{data.name} {lack}, and a backtest needs every event's date: name the column of dates, or of seconds "
            "since 1970, with jaxrec prepare --time COLUMN, and backtest what that writes"
        )
    times = np.asarray(data.times)
    first, end = int(times.min()), (int(times.max()) // SECOND + 1) * SECOND
    test, train = _seconds(test_days), None if train_days is None else _seconds(train_days)
    if number * test + (train or 1) > end - first:
        raise UserError(_too_short(data.name, Period(first, end), train, test, number))
    starts = [end - (number - fold) * test for fold in range(number)]
    return [Fold(Period(first if train is None else at - train, at), Period(at, at + test)) for at in starts]


def _seconds(days):
    """Returns days as whole seconds, at least one, in microseconds."""
    return max(round(days * DAY / SECOND), 1) * SECOND


def _too_short(name, span, train, test, number):
    days, train, test = (span.until - span.since) / DAY, (train or 0) / DAY, test / DAY
    asked = f"{number} tests of {test:g} days" + (
        f" after {train:g} days of training" if train else " and a past to train on"
    )
    fits = []
    if (most := math.ceil((days - train) / test) - 1) >= 1:
        fits.append(f"--folds {most}")
    if train and days > number * test:
        fits.append(f"--train-days {_at_most(days - number * test)}")
    if days > train:
        fits.append(f"--test-days {_at_most((days - train) / number * (1 if train else 0.5))}")
    if not fits:
        fits.append(f"--train-days {_at_most(days / 2)} --test-days {_at_most(days / 2 / number)}")
    dates = f"{date(span.since)} to {date(span.until)}"
    return f"{name} spans {days:.3g} days ({dates}), too few for {asked}: {', or '.join(fits)} would fit"


def _at_most(days):
    """Formats a number of days, rounded down until its whole seconds do not exceed these days."""
    text = _rounded_down(days)
    while _seconds(float(text)) > max(days * DAY, SECOND):
        text = _rounded_down(float(text))
    return text


def _rounded_down(value):
    """Formats a number with at most three significant digits, rounded down."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 2) if value > 0 else 1.0
    return f"{math.floor(value / unit * 0.999) * unit:.3g}"


def window_of(data: Interactions, period: Period) -> Interactions:
    """Returns the events of a period, as `prepare` would with since and until: all that a fold's model may know."""
    return replace(filters.select(data, period.holds(np.asarray(data.times))), train_sessions=None)


def latest(data: Interactions, valid: float = 0.1) -> Split:
    """Splits off the latest events as validation questions; there is no test, which would be in the future.

    The cut is the (1 - valid)-quantile of all times. Each event at or after it is a question, given all of its user's
    earlier events. The catalogue consists of the training items, renumbered; events of other items are left out.

    >>> from jaxrec.data.interactions import from_sequences
    >>> log = replace(from_sequences([[7, 8, 7, 9], [8, 7]]), times=np.array([0, 1, 3, 4, 1, 2]))
    >>> found = latest(log, 0.34)
    >>> found.interactions.catalogue.ids.tolist(), found.stop - found.start, found.valid.target.tolist()
    ([7, 8], array([2, 1]), [1, 1])

    Raises:
        UserError: if the log has no times.
    """
    if data.times is None:
        raise UserError(f"{data.name} has no times, so the latest events are unknown: split by last-item")
    times = np.asarray(data.times)
    trains = times < _cut(times, valid)
    known, numbers = _known(data, trains)
    kept = known[data.items]
    kept_before, trained_before = (np.append(0, np.cumsum(each)) for each in (kept, trains))
    offsets = kept_before[data.offsets]
    start, end = offsets[:-1], offsets[1:]
    stop = start + np.diff(trained_before[data.offsets])
    made = _taken(data, np.flatnonzero(kept), offsets, data.users, numbers, known)
    begin = np.maximum(stop, start + 1)
    at = slices(begin, np.maximum(end, begin))
    source = np.repeat(np.arange(len(start)), np.maximum(end - begin, 0))
    if (may := event_types.targets(made)) is not None:
        at, source = at[may[at]], source[may[at]]
    valid_questions = Questions(source.astype(np.int32), start[source], at, made.items[at])
    return Split(made, start.copy(), stop, valid_questions, _none(), left_out=int((~kept).sum()))


LATEST = SplitEntry(
    name="latest",
    split=lambda interactions, q, valid: latest(interactions, valid),
    held_out="every event of the last part, whole catalogue",
    by_type=True,
    keys=("valid_fraction",),
)
NAME = "jaxrec.data.folds:LATEST"  #: import path of LATEST, for a configuration's `split`


def asked(data: Interactions, folds: list[Fold], targets: str = ALL) -> Asked:
    """Returns the test events that have an earlier event of the same user in the log; with LAST, each user's last.

    Events of equal time are in the order of the log.
    """
    times = np.asarray(data.times)
    may = event_types.targets(data)
    at = np.flatnonzero((times >= folds[0].test.since) & (True if may is None else may))
    user = np.searchsorted(data.offsets, at, side="right") - 1
    given = at > data.offsets[user]
    at, user = at[given], user[given]
    fold = np.searchsorted([each.test.since for each in folds], times[at], side="right") - 1
    if targets == LAST:
        ends = np.append((user[1:] != user[:-1]) | (fold[1:] != fold[:-1]), True)[: len(at)]
        at, user, fold = at[ends], user[ends], fold[ends]
    return Asked(user, at, fold)


def question(data: Interactions, window: Period, valid: float, asked: Asked) -> tuple[Split, np.ndarray]:
    """Returns the questions for a model trained on a window, in the model's numbering of items and users.

    The window's users come first, in the order of `window_of`, then all others. A history is the user's whole log
    before the target, including the time before the window, without items that weren't in training.

    Args:
        data: the whole log.
        window: the training window.
        valid: as for `latest`.
        asked: questions, as from `asked`.

    Returns:
        Split of the whole log with the answerable questions as `test`, and which questions these are [Q] bool: those
        whose target and at least one history item were in training.
    """
    times, offsets = np.asarray(data.times), data.offsets
    inside = window.holds(times)
    cut = _cut(times[inside], valid)
    known, numbers = _known(data, inside & (times < cut))
    before = np.append(0, np.cumsum(known[data.items]))
    until = lambda moment: offsets[:-1] + np.diff(np.append(0, np.cumsum(times < moment))[offsets])
    first, last = until(window.since), until(min(cut, window.until))
    is_in = until(window.until) > first
    order = np.append(np.flatnonzero(is_in), np.flatnonzero(~is_in))
    rows = slices(offsets[order], offsets[order + 1])
    rows = rows[known[data.items[rows]]]
    own_offsets = np.append(0, np.cumsum(np.diff(before[offsets])[order]))
    made = _taken(data, rows, own_offsets, data.users[order], numbers, known)
    made = replace(made, user_columns=data.columns_of(order))
    made = replace(made, types=event_types.in_numbers_of(made.types, event_types.selected(data.types, inside)))
    shift = np.empty(len(order), np.int64)
    shift[order] = own_offsets[:-1]
    shift -= before[offsets[:-1]]
    place = np.argsort(order)
    target = numbers[data.items[asked.at]] * known[data.items[asked.at]]
    start, stop = (before[each] + shift[asked.user] for each in (offsets[asked.user], asked.at))
    can = (target > 0) & (stop > start)
    questions = Questions(place[asked.user].astype(np.int32), start, stop, target)
    start, stop = (before[each] + shift for each in (first, np.maximum(first, last)))
    return Split(made, start[order], stop[order], _none(), Questions(*(each[can] for each in questions))), can


def facts(data: Interactions, folds: list[Fold], asked: Asked) -> list[dict]:
    """Returns plain values per fold: dates, and counts of events, questions, users asked, new users and new items.

    New users and items have no event before the test. A new user's first event is not a question, lacking a history.
    """
    times, items = np.asarray(data.times), np.asarray(data.items)
    starts = [each.test.since for each in folds] + [folds[-1].test.until]
    count = lambda moments: np.diff(np.searchsorted(np.sort(moments), starts)).tolist()
    lengths = np.diff(data.offsets)
    born = np.full(len(data.catalogue.ids) + 1, np.iinfo(np.int64).max)
    np.minimum.at(born, items, times)
    firsts = times[data.offsets[:-1][lengths > 0]]
    events, users, new_items = count(times), count(firsts), count(born[born < starts[-1]])
    found = []
    for number, fold in enumerate(folds):
        mine = asked.user[asked.fold == number]
        told = {"fold": number, "since": date(fold.test.since), "until": date(fold.test.until)}
        told |= {"window_since": date(fold.window.since), "events": events[number], "questions": len(mine)}
        told |= {"users": len(np.unique(mine)), "new_users": users[number], "new_items": new_items[number]}
        found.append(told)
    return found


def _cut(times, valid):
    """Returns the time at which a window's validation begins; without validation, the largest int64."""
    return quantile(times, 1 - valid) if valid else int(np.iinfo(np.int64).max)


def _known(data, trains):
    """Returns which items are in training [V + 1] bool, and their new numbers [V + 1] int32."""
    known = np.zeros(len(data.catalogue.ids) + 1, bool)
    known[data.items[trains]] = True
    return known, np.cumsum(known, dtype=np.int32)


def _taken(data, rows, offsets, users, numbers, known):
    """Returns the interactions of these rows, all of known items, with every per-row array."""
    whole = ("offsets", "users", "items")
    values = {each.name: getattr(data, each.name) for each in fields(data) if each.name not in whole}
    each_row = {
        name: np.asarray(value[rows])
        for name, value in values.items()
        if isinstance(value, np.ndarray) and len(value) == len(data.items)
    }
    sessions = None if data.sessions is None else sessions_of(data.sessions, rows, offsets)
    catalogue, items = data.catalogue.take(np.flatnonzero(known)), numbers[data.items[rows]]
    own = {"items": items, "offsets": offsets, "users": users, "catalogue": catalogue, "sessions": sessions}
    types = event_types.taken(data.types, rows)
    return replace(data, **own, **each_row, types=types, train_sessions=None, digest=None)


def _none():
    return Questions(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int32))
