"""Rolling folds on absolute times: what each trains on and is asked, so that nothing of the future is known."""

import math
from dataclasses import fields, replace
from typing import NamedTuple

import numpy as np

from jaxrec.data import event_types, filters
from jaxrec.data.interactions import Interactions
from jaxrec.data.log import parts
from jaxrec.data.ragged import slices
from jaxrec.data.splits import Questions, Split, SplitEntry, quantile
from jaxrec.data.times import date
from jaxrec.system.errors import UserError

SECOND, DAY = 1_000_000, 86_400_000_000  # microseconds
ALL, LAST = TARGETS = "all", "last"  #: events of a test that are asked: every one, or each user's last


class Period(NamedTuple):
    """From `since` on and before `until`, in microseconds since 1970, UTC."""

    since: int
    until: int

    def holds(self, times: np.ndarray) -> np.ndarray:
        """Which times lie in it. [N] -> [N] bool"""
        return (times >= self.since) & (times < self.until)


class Fold(NamedTuple):
    """A test, and the window before it that trains and validates: window.until is test.since."""

    window: Period
    test: Period


class Asked(NamedTuple):
    """The questions of all folds, by the places of their targets in the log: the same for whatever is asked."""

    user: np.ndarray  #: [Q] number of the user
    at: np.ndarray  #: [Q] place of the target among the log's interactions
    fold: np.ndarray  #: [Q] number of the fold


def plan(data: Interactions, train_days: float | None, test_days: float, number: int) -> list[Fold]:
    """So many tests one after another, the last one up to the log's last event; all begin at whole seconds.

    Args:
        data: Interactions.
        train_days: length of the window before each test; None for all that was before it.
        test_days: length of a test.
        number: of tests.

    Raises:
        UserError: times are missing, or count from an unknown moment; the log is too short, and the message says what
            fits.
    """
    if data.times is None or data.relative:
        lack = "has no times" if data.times is None else "has times that count from an unknown moment"
        raise UserError(
            f"{data.name} {lack}, and a backtest needs every event's date: name the column of dates, or of seconds "
            "since 1970, by jaxrec prepare --time COLUMN, and backtest what that writes"
        )
    times = np.asarray(data.times)
    first, end = int(times.min()), (int(times.max()) // SECOND + 1) * SECOND
    test, train = _seconds(test_days), None if train_days is None else _seconds(train_days)
    if number * test + (train or 1) > end - first:
        raise UserError(_too_short(data.name, Period(first, end), train, test, number))
    starts = [end - (number - fold) * test for fold in range(number)]
    return [Fold(Period(first if train is None else at - train, at), Period(at, at + test)) for at in starts]


def _seconds(days):
    """Whole seconds, at least one, in microseconds."""
    return max(round(days * DAY / SECOND), 1) * SECOND


def _too_short(name, span, train, test, number):
    days, train, test = (span.until - span.since) / DAY, (train or 0) / DAY, test / DAY
    asked = f"{number} tests of {test:g} days" + (f" after {train:g} days that train" if train else " and a past")
    fits = []
    if (most := math.ceil((days - train) / test) - 1) >= 1:
        fits.append(f"--folds {most}")
    if train and days > number * test:
        fits.append(f"--train-days {_rounded_down(days - number * test)}")
    if days > train:
        fits.append(f"--test-days {_rounded_down((days - train) / number * (1 if train else 0.5))}")
    if not fits:
        fits.append(f"--train-days {_rounded_down(days / 2)} --test-days {_rounded_down(days / 2 / number)}")
    dates = f"{date(span.since)} to {date(span.until)}"
    return f"{name} spans {days:.3g} days ({dates}), too few for {asked}: {', or '.join(fits)} would fit"


def _rounded_down(value):
    """A text of at most three digits that count, no more than the value."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 2) if value > 0 else 1.0
    return f"{math.floor(value / unit * 0.999) * unit:.3g}"


def window_of(data: Interactions, period: Period) -> Interactions:
    """The events of a period alone, as `prepare` gives them with since and until: what a fold's model may know."""
    return replace(filters.select(data, period.holds(np.asarray(data.times))), train_sessions=None)


def latest(data: Interactions, valid: float = 0.1) -> Split:
    """All but the last events train, these validate, and nothing is a test: what comes after is not in the data.

    The cut is the (1 - valid)-quantile of all times. What is at or after it is asked, event by event, each given all
    of its user before it. The catalogue is that of what trains, items being numbered anew: others are left out.

    >>> from jaxrec.data.interactions import from_sequences
    >>> log = replace(from_sequences([[7, 8, 7, 9], [8, 7]]), times=np.array([0, 1, 3, 4, 1, 2]))
    >>> found = latest(log, 0.34)
    >>> found.interactions.catalogue.ids.tolist(), found.stop - found.start, found.valid.target.tolist()
    ([7, 8], array([2, 1]), [1, 1])
    """
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
NAME = "jaxrec.data.folds:LATEST"  #: by which a configuration's `split` finds it


def asked(data: Interactions, folds: list[Fold], targets: str = ALL) -> Asked:
    """The events of the tests that have an earlier one of their user anywhere in the log; or each user's last of them.

    Of events of one time the one that comes first in the log is the earlier.
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
    """What a model that was trained on a window is asked, in its own numbers of items and users.

    Its users come first, in the order of `window_of`, then all others. A history is all that the log has of the user
    before the target, the window's past included, less the items that did not train.

    Args:
        data: the whole log.
        window: of the training.
        valid: as of `latest`.
        asked: some of `asked`.

    Returns:
        Split of the whole log with these `test` questions, those which can be asked, and which these are [Q] bool:
        those whose target trained, with a history of which an item did.
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
    """Of each fold's test: dates, events, questions, users asked, new users and new items, plain values.

    New is who or what has no event before the test. A new user's first event is no question: nothing is given.
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
    """The moment from which on what is in a window validates; of no validation the end of all times."""
    return quantile(times, 1 - valid) if valid else int(np.iinfo(np.int64).max)


def _known(data, trains):
    """Which items train [V + 1] bool, and their new numbers [V + 1] int32."""
    known = np.zeros(len(data.catalogue.ids) + 1, bool)
    known[data.items[trains]] = True
    return known, np.cumsum(known, dtype=np.int32)


def _taken(data, rows, offsets, users, numbers, known):
    """Interactions of these rows of a log, of known items alone: whatever it has a row each of is taken along."""
    whole = ("offsets", "users", "items")
    values = {each.name: getattr(data, each.name) for each in fields(data) if each.name not in whole}
    each_row = {
        name: np.asarray(value[rows])
        for name, value in values.items()
        if isinstance(value, np.ndarray) and len(value) == len(data.items)
    }
    sessions = data.sessions
    if sessions is not None:
        session = np.repeat(np.arange(len(sessions.ids)), np.diff(sessions.offsets))
        sessions = parts(offsets, session[rows], sessions.ids)
    catalogue, items = data.catalogue.take(np.flatnonzero(known)), numbers[data.items[rows]]
    own = {"items": items, "offsets": offsets, "users": users, "catalogue": catalogue, "sessions": sessions}
    types = event_types.taken(data.types, rows)
    return replace(data, **own, **each_row, types=types, train_sessions=None, digest=None)


def _none():
    return Questions(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int32))
