"""Laws of event types: each stays with its event, whatever is done to a log, and they determine the targets."""

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, strategies as st

import jaxrec
from jaxrec.data import event_types, filters, folds, known, reading, splits
from jaxrec.data.cold import hold_out
from jaxrec.data.event_types import Column, asking, targets
from jaxrec.data.filters import Options
from jaxrec.data.folds import DAY
from jaxrec.data.interactions import Sessions, fingerprint, from_sequences
from jaxrec.data.values.spellings import MISSING
from jaxrec.system.errors import UserError

NAMES = ["cart", "purchase", "view"]
names = st.sampled_from([None, *NAMES])
history = st.lists(st.tuples(st.integers(1, 9), names), min_size=1, max_size=7)
logs = st.lists(history, min_size=2, max_size=7)


def column(values, parts=1):
    found = Column("what")
    for part in np.array_split(np.array(values, object), parts):
        found.add(pl.Series(part.tolist(), dtype=pl.String), "log.csv")
    return found.close()


def made(log, first=None):
    """Interactions of each user's (item, type) pairs; the items in `first` belong to an additional first user."""
    log = [[(item, None) for item in first or ()], *log] if first else log
    data = from_sequences([[item for item, _ in each] for each in log])
    times = np.arange(len(data.items), dtype=np.int64) * DAY
    return replace(data, times=times, types=column([name for each in log for _, name in each]))


def as_rows(data):
    """(item, time, type) of all events, with external ids and names."""
    texts = [(None, *data.types.names)[number] for number in data.types.numbers] if data.types else None
    items = data.catalogue.ids[np.asarray(data.items) - 1].tolist()
    return list(zip(items, data.times.tolist(), texts or [None] * len(items), strict=True))


@given(st.lists(st.one_of(names, st.just(""), st.just(" view ")), max_size=12), st.integers(1, 4))
def test_a_column_is_what_was_read_whatever_its_batches(values, parts):
    found = column(values, parts)
    wanted = [(value or "").strip() for value in values]
    assert (found is None) == (not any(wanted))
    if found:
        assert found.names == tuple(sorted({*wanted} - {""}))
        assert [("", *found.names)[number] for number in found.numbers] == wanted


@given(
    st.lists(st.sampled_from([None, "view", "cart", *MISSING, " NA "]), max_size=12), st.integers(1, 4), st.booleans()
)
def test_words_for_missing_values_are_no_types_unless_they_are_kept_and_that_is_said(values, parts, keep):
    found = Column("what", keep_na=keep)
    for part in np.array_split(np.array(values, object), parts):
        found.add(pl.Series(part.tolist(), dtype=pl.String), "log.csv")
    types, bare = found.close(), [(value or "").strip() for value in values]
    unknown = [name for name in bare if name in MISSING and not keep]
    assert (types.names if types else ()) == tuple(sorted({*bare} - {*unknown, ""}))
    assert not types or [("", *types.names)[n] for n in types.numbers] == ["" if v in unknown else v for v in bare]
    said = f"the types of {len(unknown)} events are not known; --keep-na-ids takes such words as types"
    assert [said in note for note in found.notes()] == [True] * bool(unknown)


def test_a_log_says_that_types_are_missing(tmp_path):
    (tmp_path / "a.csv").write_text("user,item,type\n1,2,view\n1,3,NA\n2,2,null\n2,3,buy\n")
    said = []
    assert reading.read(tmp_path / "a.csv", columns={"type": "type"}, say=said.append).types.names == ("buy", "view")
    assert any(line.startswith("type: NA, null: missing values, so the types of 2 events are") for line in said)
    kept = reading.read(tmp_path / "a.csv", columns={"type": "type"}, keep_na_ids=True)
    assert kept.types.names == ("NA", "buy", "null", "view")


def test_what_is_no_column_of_types_is_refused():
    with pytest.raises(UserError, match=r"log.csv: column what has more than 255 different .*--type COLUMN, or none"):
        column([f"id{number}" for number in range(256)])
    assert len(column([f"id{number}" for number in range(255)]).names) == 255
    for values in ([[1], [2]], [b"a", b"b"], [b"\xff"], [timedelta(1)]):
        with pytest.raises(UserError, match=r"column what holds .*a text or a number"):
            Column("what").add(pl.Series(values), "log.csv")


@given(st.lists(st.sampled_from([None, 1, 2]), min_size=1, max_size=6), st.integers(0, 6))
def test_numbers_are_the_same_types_as_integers_and_as_floats(values, cut):
    found, wanted = Column("what"), column([value and str(value) for value in values])
    found.add(pl.Series(values[:cut], dtype=pl.Int64), "a.parquet")
    found.add(pl.Series([float("nan") if value is None else value for value in values[cut:]], dtype=pl.Float64), "b")
    types = found.close()
    assert (types is None) == (wanted is None)
    if types:
        assert types.names == wanted.names and types.numbers.tolist() == wanted.numbers.tolist()


@pytest.mark.parametrize("other", ["1.0", "1.", "01", "1e0"])
def test_a_number_in_two_spellings_is_refused(other):
    found = Column("what")
    found.add(pl.Series(["1", "2"]), "a.csv")
    with pytest.raises(
        UserError, match=rf"b.csv: column what holds {other} beside 1 \(in a.csv\): one type may .* two"
    ):
        found.add(pl.Series(["1.5", other]), "b.csv")
    assert column([other, "2.0", "v1"]).names == tuple(sorted([other, "2.0", "v1"]))


FRAME = pl.DataFrame(
    {
        "user": ["a", "a", "a", "b", "b"],
        "item": [5, 6, 7, 5, 7],
        "time": [1, 2, 3, 2, 1],
        "event_type": ["view", "view", "purchase", None, "view"],
    }
)


WAYS = {"pandas": "DataFrame", "pyarrow": "table"}


def written(folder, kind):
    """The rows of FRAME, in a file or table of this kind."""
    path = folder / f"log.{kind}"
    if kind == "csv":
        FRAME.write_csv(path)
    elif kind == "parquet":
        FRAME.with_columns(pl.col("event_type").cast(pl.Categorical)).write_parquet(path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in FRAME.to_dicts()))
    else:
        columns = FRAME.to_dict(as_series=False)
        return FRAME if kind == "polars" else getattr(pytest.importorskip(kind), WAYS[kind])(columns)
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl", "polars", "pandas", "pyarrow"])
def test_they_are_read_where_they_are_named_and_nowhere_else(kind, tmp_path):
    source = written(tmp_path, kind)
    log, plain = jaxrec.prepare(source, type="event_type"), jaxrec.prepare(source)
    assert log.interactions.types.names == ("purchase", "view")
    assert log.interactions.types.numbers.tolist() == [2, 2, 1, 2, 0]
    assert plain.interactions.types is None
    assert any("event_type is not read: --type event_type reads it" in note for note in plain.notes)
    assert "type = event_type" in log.notes[0] and "types            view 3, purchase 1, not known 1" in repr(log)
    assert log.fingerprint != plain.fingerprint == jaxrec.prepare(FRAME.drop("event_type")).fingerprint
    assert log.fingerprint == jaxrec.prepare(FRAME, type="event_type").fingerprint


def test_they_are_read_within_records_and_lists_and_beside_sequences(tmp_path):
    events = [{"aid": 7, "ts": 10, "type": "clicks"}, {"aid": 8, "ts": 11, "type": "orders"}]
    (tmp_path / "otto.jsonl").write_text(json.dumps({"session": 1, "events": events}) + "\n")
    columns = {"user": "session", "item": "events.aid", "time": "events.ts"}
    said = []
    plain = reading.read(tmp_path / "otto.jsonl", columns=columns, say=said.append)
    assert plain.types is None and any("events.type is not read: --type events.type" in line for line in said)
    assert as_rows(reading.read(tmp_path / "otto.jsonl", columns=columns | {"type": "events.type"}))[1][2] == "orders"
    lists = pl.DataFrame({"user": [1, 2], "items": [[3, 4], [4]], "type": ["view", "cart"]})
    of_rows = jaxrec.prepare(lists, type="type")
    assert of_rows.interactions.types.numbers.tolist() == [2, 2, 1]
    assert any("the type of a row applies to each of its items" in note for note in of_rows.notes)
    (tmp_path / "sequences.txt").write_text("1 3 4\n2 4\n")
    (tmp_path / "interactions.csv").write_text("user_id,item_id,type\n1,3,view\n1,4,buy\n2,4,view\n")
    assert reading.read(tmp_path).types.numbers.tolist() == [2, 1, 2]


@given(logs, st.data())
def test_filters_keep_each_with_its_event(log, data):
    whole = made(log)
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(whole.items), max_size=len(whole.items))))
    rest = filters.select(whole, keep)
    rows = [row for row, stays in zip(as_rows(whole), keep, strict=True) if stays]
    assert as_rows(rest) == rows
    occur = {name for *_, name in rows} - {None}
    assert rest.types is None if not occur else rest.types.names == tuple(sorted(occur))


def test_duplicates_are_of_one_type():
    log = pl.DataFrame(
        {"user": [1] * 4, "item": [5, 5, 5, 6], "time": [1] * 4, "type": ["view", "cart", "view", "view"]}
    )
    left = lambda **said: len(jaxrec.prepare(log, drop_duplicates=True, **said).interactions.items)
    assert left(type="type") == 3 and left() == 2


@given(logs)
def test_the_fingerprint_is_of_types_too(log):
    whole, bare = made(log), replace(made(log), types=None)
    assert (fingerprint(whole) == fingerprint(bare)) == (whole.types is None)
    assert known.histories(whole) == known.histories(bare)
    if whole.types is not None:
        other = whole.types._replace(names=tuple(f"{name}!" for name in whole.types.names))
        assert fingerprint(replace(whole, types=other)) != fingerprint(whole)
        asked = asking(whole, whole.types.names[0])
        assert fingerprint(asked) == fingerprint(whole)


@given(logs, st.integers(1, 3))
def test_splits_folds_and_held_out_items_keep_each_with_its_event(log, number):
    whole = made(log, range(1, 10))
    rows = as_rows(whole)
    found = splits.sessions(whole, 0.5, 0.2).interactions
    assert {*as_rows(found)} <= {*rows}
    latest = folds.latest(whole, 0.3).interactions
    assert {*as_rows(latest)} <= {*rows}
    try:
        held = hold_out(splits.last_item(whole), 0.2, number).interactions
    except UserError:  # raised for a few short histories
        return
    assert as_rows(held)[: len(rows)] == rows and {*as_rows(held)} == {*rows}


@given(logs, st.integers(2, 6))
def test_a_fold_asks_in_the_numbers_of_its_window(log, cut):
    whole = made(log, range(1, 10))
    end = int(whole.times[-1]) + DAY
    window = folds.Period(0, cut * 2 * DAY)
    plan = [folds.Fold(window, folds.Period(window.until, max(end, window.until + DAY)))]
    known = folds.window_of(whole, window)
    asked, _ = folds.question(whole, window, 0.0, folds.asked(whole, plan))
    if known.types is None:
        assert asked.interactions.types is None
    else:
        assert asked.interactions.types.names == known.types.names
        of = {time: name for _, time, name in as_rows(whole)}
        for _, time, name in as_rows(asked.interactions):
            assert name == (of[time] if of[time] in known.types.names else None)


# --- which events are targets


@given(logs)
def test_where_all_types_are_asked_the_split_is_as_without(log):
    log = [[(item, name or "view") for item, name in each] for each in log]
    whole = made(log, None)
    every = asking(whole, ",".join(whole.types.names))
    for split in (splits.last_item, splits.by_time, lambda data: splits.sessions(data, 0.5, 0.3)):
        for one, other in zip(split(whole)[1:5], split(every)[1:5], strict=True):
            np.testing.assert_array_equal(np.concatenate(one, axis=None), np.concatenate(other, axis=None))


def purchases(data, start, stop):
    return [at for at in range(start, stop) if targets(data)[at]]


@given(logs)
def test_the_last_two_are_asked_given_all_before_them(log):
    whole = made([*log, [(1, "view"), (2, "purchase"), (3, "purchase")]])
    data = asking(whole, "purchase")
    split = splits.last_item(data)
    for user, (start, end) in enumerate(zip(data.offsets[:-1], data.offsets[1:], strict=True)):
        places = purchases(data, start, end)
        (test,), (valid,) = (np.flatnonzero(q.source == user).tolist() or [None] for q in (split.test, split.valid))
        if len(places) < 2 or places[-2] == start:
            assert test is valid is None and (split.start[user], split.stop[user]) == (start, end)
            continue
        assert (split.test.start[test], split.test.stop[test]) == (start, places[-1])
        assert (split.valid.start[valid], split.valid.stop[valid]) == (start, places[-2])
        assert (split.start[user], split.stop[user]) == (start, places[-2])
        assert split.test.target[test] == data.items[places[-1]]
        assert split.valid.target[valid] == data.items[places[-2]]


@given(logs, st.sampled_from([0.3, 0.6]))
def test_by_time_the_last_of_each_period_is_asked(log, q):
    data = asking(made([*log, [(1, "view"), (2, "purchase")]]), "purchase")
    split = splits.by_time(data, q)
    cut = splits.quantile(data.times, q)
    inner = splits.quantile(data.times[data.times < cut], q)
    wanted = {"test": {}, "valid": {}}
    for user, (start, end) in enumerate(zip(data.offsets[:-1], data.offsets[1:], strict=True)):
        for at in purchases(data, start + 1, end):
            time = data.times[at]
            if time >= inner:
                wanted["test" if time >= cut else "valid"][user] = (start, at, data.items[at])
    for part, asked in (("test", split.test), ("valid", split.valid)):
        found = zip(asked.source, zip(asked.start, asked.stop, asked.target, strict=True), strict=True)
        assert dict(found) == wanted[part]


@given(logs)
def test_in_sessions_and_folds_every_one_is_asked(log):
    whole = made([*log, [(1, "view"), (2, "purchase"), (1, "view"), (2, "purchase")]], range(1, 10))
    data = asking(whole, "purchase")
    every, some = (splits.sessions(each, 0.4, 0.3) for each in (whole, data))
    for one, other in ((every.test, some.test), (every.valid, some.valid)):
        keep = targets(some.interactions)[one.stop]
        for values, found in zip(one, other, strict=True):
            np.testing.assert_array_equal(values[keep], found)
    plan = folds.plan(whole, None, 1, 2)
    one, other = folds.asked(whole, plan), folds.asked(data, plan)
    np.testing.assert_array_equal(one.at[targets(data)[one.at]], other.at)
    one, other = folds.latest(whole, 0.4), folds.latest(data, 0.4)
    np.testing.assert_array_equal(one.valid.stop[targets(other.interactions)[one.valid.stop]], other.valid.stop)


def test_types_that_are_not_there_are_said():
    data = made([[(1, "view"), (2, "purchase"), (3, "view")]])
    for said, wanted in (
        ("buy", r"asks for buy, a type that no event has: there are view \(2\), purchase \(1\)"),
        ("view,view", "names view twice: once will do"),
        ('"a, b"', "asks for a, b, a type that no event has"),
    ):
        with pytest.raises(UserError, match=wanted):
            asking(data, said)
    with pytest.raises(UserError, match=r"has no types of events.*--type COLUMN, or leave config.target_types out"):
        asking(replace(data, types=None), "view")
    assert asking(data, " ") is data
    assert event_types.asked(asking(data, "view, purchase")) == ("purchase", "view")


def test_a_split_of_ones_own_has_to_know_of_types(monkeypatch):
    own = replace(splits.LAST_ITEM, name="own", by_type=False)
    monkeypatch.setattr(splits.registry, "find", lambda kind, name: own)
    data = made([[(1, "view"), (2, "purchase"), (3, "view")]])
    splits.split(data, "own")
    with pytest.raises(UserError, match="split own asks for events of all types"):
        splits.split(asking(data, "purchase"), "own")


def test_sessions_of_users_keep_theirs():
    data = made([[(1, "view"), (2, "purchase"), (3, "view")], [(1, None)]])
    data = replace(data, sessions=Sessions(np.array([0, 2, 3, 4]), np.array([7, 8, 9])))
    apart = splits.by_session(data)
    assert as_rows(apart) == as_rows(data) and len(apart.users) == 3
    kept, _ = filters.apply(data, Options(session_gap=60.0))
    assert as_rows(kept) == as_rows(data)
