"""The command prepare: interactions of any format -> a prepared folder, and what is in it."""

import dataclasses
import time
from collections.abc import Collection

from jaxrec.data import filters, prepared, sources, splits, summary
from jaxrec.data.columns import ROLES
from jaxrec.system import console as consoles

READING = ("ids", "keep_na_ids", "time_format", "only")  # options of how the input is read


def prepare(arguments, _overrides):
    """Read, leave out what is asked, say what is there, write it."""
    console = consoles.make()
    say = lambda line: console.print(consoles.printable(line), soft_wrap=True)
    options = filters.Options(**{f.name: getattr(arguments, f.name) for f in dataclasses.fields(filters.Options)})
    given = dataclasses.asdict(options)
    columns = {role: getattr(arguments, role) for role in ROLES}
    filters.check(options)
    prepared.check(arguments.output)
    begun, notes = time.monotonic(), []

    def note(line):
        notes.append(line)
        say(line)

    with console.status("reading") as status:

        def progress(rows):
            rate = rows / max(time.monotonic() - begun, 1e-9)
            status.update(f"reading: {rows:,} rows, {rate:,.0f} a second")

        reading = {
            "format": arguments.format,
            "columns": columns,
            "separator": arguments.separator,
            "quote": arguments.quote,
            "skip_bad_rows": arguments.on_bad_row == "skip",
            "allow_large": arguments.allow_large,
            "say": note,
            "progress": progress,
            "items": arguments.items,
            **{name: getattr(arguments, name) for name in READING},
        }
        interactions, before = sources.load_steps(arguments.input, reading)
        warned = {user for user, _ in _warn(interactions, note)}
        status.update("filtering")
        interactions, steps = filters.apply(interactions, options)
        _warn(interactions, note, warned)
        steps = before + steps[1:]
        status.update("counting")
        told = summary.facts(interactions)
        words = {name: splits.in_words(made(interactions)) for name, made in applicable(interactions).items()}
        status.update("writing")
        meta = {
            "source": interactions.name,
            "options": {name: value for name, value in given.items() if value not in (None, False)},
            "reading": {name: value for name in READING if (value := getattr(arguments, name))},
            "columns": {role: name for role, name in columns.items() if name is not None},
            **({} if arguments.items is None else {"items_table": arguments.items}),
            "notes": notes,
            "steps": [step._asdict() for step in steps],
            "facts": told,
        }
        plot = (
            (lambda folder: summary.plot(interactions, folder / "plots.png", arguments.output.name))
            if (arguments.plots)
            else (lambda folder: None)
        )
        prepared.save(interactions, arguments.output, meta, plot)
    summary.show(told, steps, words, console)
    if advised := splits.advice(interactions):
        say(advised)
    seconds = time.monotonic() - begun
    say(f"{arguments.output}: written, {len(interactions.items):,} rows in {seconds:.1f} s")
    say(f"train on it: --config.dataset={arguments.output}")
    return 0


def _warn(interactions, note, but: Collection[str] = ()):
    """Say of every user with too many rows, but those named before; -> [(id, share)]."""
    found = summary.heavy(interactions)
    for user, share in found:
        if user not in but:
            note(summary.warning(user, share, len(interactions.users)))
    return found


def applicable(interactions):
    """The splits that these interactions allow: {name: function of the interactions}."""
    found = {"last-item": splits.last_item}
    dated = interactions.times is not None and not interactions.relative
    if interactions.train_sessions is not None or dated:
        found["sessions"] = splits.sessions
    return found | ({"by-time": splits.by_time} if dated else {})
