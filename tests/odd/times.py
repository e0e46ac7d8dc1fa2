"""Odd times that are right."""

import datetime

from broken.logs import MIDNIGHT, put

from odd.logs import Odd, events, odd, text


def dated(rows, form):
    return [
        (user, item, datetime.datetime.fromtimestamp(time, datetime.UTC).strftime(form)) for user, item, time in rows
    ]


@odd("dates in many forms")
def _(folder, chance, number):
    forms = [
        "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%dT%H:%M:%SZ",
        "%Y-%m-%dT%H:%M:%S+00:00",
        "%Y-%m-%d %H:%M:%S UTC",
        "%Y/%m/%d %H:%M:%S",
        "%Y-%m-%dT%H:%M:%S.000",
    ]
    rows = events(chance)
    return Odd(put(folder / "log.csv", text(dated(rows, forms[number % 6]))), rows)


@odd("dates of a form that is named")
def _(folder, chance, number):
    form = ["%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%Y%m%d %H%M%S"][number % 4]
    rows = events(chance)
    return Odd(put(folder / "log.csv", text(dated(rows, form))), rows, ("--time-format", form))


@odd("times in other units")
def _(folder, chance, number):
    rows, factor = events(chance), [1, 1_000, 1_000_000, 1_000_000_000][number % 4]
    return Odd(put(folder / "log.csv", text([(u, i, t * factor) for u, i, t in rows])), rows)


@odd("times that are not wanted")
def _(folder, chance, number):
    rows = [(user, item, None) for user, item, _ in events(chance)]
    names = ["user", "item", ["when", "moment", "day_of_event"][number % 3]]
    written = [(user, item, MIDNIGHT - at) for at, (user, item, _) in enumerate(rows)]
    return Odd(put(folder / "log.csv", text(written, header=names)), rows, ("--time", "none"))


@odd("times out of order")
def _(folder, chance, number):
    rows = events(chance)
    return Odd(put(folder / "log.csv", text(chance.sample(rows, len(rows)))), rows)
