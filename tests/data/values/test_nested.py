"""Laws of data.values.nested: a field of the records in a list is read from JSON as from Parquet."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from jaxrec.data.files import text
from jaxrec.data.interactions import fingerprint, from_sequences
from jaxrec.data.reading import read
from jaxrec.data.values import nested
from jaxrec.system.errors import UserError

START = 1_661_724_000_278
SESSIONS = [
    {"session": 1, "events": [{"aid": 7, "ts": START, "type": "clicks"}, {"aid": 8, "ts": START + 9, "type": "carts"}]},
    {"session": 2, "events": [{"aid": 7, "ts": START + 1, "type": "clicks"}]},
]
COLUMNS = {"user": "session", "item": "events.aid", "time": "events.ts"}


def put(folder, objects, name="a.jsonl", write=json.dumps):
    path = folder / name
    path.write_text("".join((each if isinstance(each, str) else write(each)) + "\n" for each in objects))
    return path


events = st.lists(st.tuples(st.integers(0, 9), st.integers(START, START + 3)), min_size=1, max_size=5)


@settings(max_examples=10)
@given(st.lists(events, min_size=1, max_size=5), st.integers(60, 300), st.booleans())
def test_the_events_of_sessions_are_the_same_from_json_and_parquet(sessions, size, timed):
    sessions[0] = [*sessions[0], (10, START), (11, START)]
    objects = [
        {"session": number, "events": [{"aid": aid, "ts": ts, "type": "x"} for aid, ts in some]}
        for number, some in enumerate(sessions)
    ]
    columns = COLUMNS if timed else {"item": "events.aid", "time": "none"}
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "PIECE", size)
        folder = Path(place)
        pl.DataFrame(objects).write_parquet(folder / "a.parquet")
        ways = [
            put(folder, objects),
            put(folder, [*objects, ""], "blank.jsonl"),
            put(folder, objects, "literals.json", repr),
            folder / "a.parquet",
        ]
        found = [read(path, columns=columns) for path in ways]
    ordered = [sorted(some, key=lambda each: each[1]) if timed else some for some in sessions]
    wanted = from_sequences([[aid for aid, _ in some] for some in ordered], users=list(range(len(sessions))))
    for each in found:
        assert fingerprint(replace(each, times=None, relative=False)) == fingerprint(wanted)
    if timed:
        assert all(each.times.tolist() == [ts * 1000 for some in ordered for _, ts in some] for each in found)


def test_the_message_names_a_field_that_works(tmp_path):
    pl.DataFrame(SESSIONS).write_parquet(tmp_path / "a.parquet")
    for path in (put(tmp_path, SESSIONS), tmp_path / "a.parquet"):
        with pytest.raises(UserError, match=r"the columns are session, events, events.aid, .* a record, --item events"):
            read(path)
        with pytest.raises(UserError, match=r"events holds records: name one of their fields, as --item events\.aid"):
            read(path, columns={"item": "events"})
        found = read(path, columns={"item": "events.aid"})  # the time beside it is recognised by its name
        assert found.offsets.tolist() == [0, 2, 3] and found.times is not None


def test_records_within_records_and_keys_with_dots(tmp_path):
    objects = [
        {"who": {"id": "a"}, "visit": {"log": [{"what": {"sku": 5}}, {"what": {"sku": 6}}]}, "x.y": 1, "x": {"y": 8}},
        {"who": {"id": "b"}, "visit": {"log": [{"what": {"sku": 6}}]}, "x.y": 2, "x": {"y": 9}},
    ]
    path = put(tmp_path, objects)
    found = read(path, columns={"user": "who.id", "item": "visit.log.what.sku", "weight": "x.y"})
    assert found.users.tolist() == ["a", "b"] and found.catalogue.ids[found.items - 1].tolist() == [5, 6, 6]
    assert found.weights.tolist() == [1, 1, 2]


BAD = {
    '{"session": 3, "events": 5}': "events.aid is not a list, unlike in the first rows: write lists in all",
    '{"session": 3, "events": {"aid": 7}}': "events.aid is not a list, unlike in the first rows",
    '{"session": 3, "events": [5]}': "events is not an object, unlike in the first rows: mend the line",
    '{"session": 3, "events": [{"aid": [1], "ts": 1}]}': "events.aid is a list: a string or a number is expected",
    '{"session": 3, "events": [{"aid": {"x": 1}, "ts": 1}]}': "events.aid is an object",
    '{"session": 3, "events": []}': "events.aid is empty: give it items, or leave the row out",
    '{"session": 3, "events": null}': "events.aid is empty",
    '{"session": 3}': "events.aid is empty",
    '{"session": 3, "events": [{"ts": 1661724000278}]}': "events.aid is empty",
    '{"session": [3], "events": [{"aid": 7, "ts": 1661724000278}]}': "session is a list",
    "not JSON": "not JSON",
}


@pytest.mark.parametrize(("line", "why"), BAD.items())
@pytest.mark.parametrize("size", [60, 1 << 20])
def test_an_odd_object_is_found_and_hurts_no_other(tmp_path, monkeypatch, line, why, size):
    monkeypatch.setattr(text, "PIECE", size)
    path = put(tmp_path, [*SESSIONS, line, {"session": 4, "events": SESSIONS[0]["events"]}])
    columns = {"item": "events.aid", "time": "none"} if why.startswith("events") else COLUMNS
    with pytest.raises(UserError, match="line 3: ") as caught:
        read(path, columns=columns)
    assert why in str(caught.value)
    found = read(path, columns=columns, skip_bad_rows=True)
    assert found.users.tolist() == [1, 2, 4] and found.offsets.tolist() == [0, 2, 3, 5]


@pytest.mark.parametrize("inner", [pl.Int64(), pl.Struct({"aid": pl.Int64(), "ts": pl.List(pl.Int64())})])
def test_arrays_of_one_length_have_the_fields_of_lists(inner):
    array, some = {"events": pl.Array(inner, 2)}, {"events": pl.List(inner)}
    assert nested.paths(array) == nested.paths(some) and nested.lists(array) == nested.lists(some)


def test_what_objects_hold_shows_their_shape():
    text = pl.String()
    assert nested.shape([{"a": None}, {"a": [None, {"b": 1}], "c": {}}, {"a": [{"d": [2]}]}]) == {
        "a": pl.List(pl.Struct({"b": text, "d": pl.List(text)})),
        "c": text,
    }
    assert nested.shape([{"a": [{"b": 1, "c": 2}], "d": 1}], ["a.c", "e"]) == {
        "a": pl.List(pl.Struct({"c": text})),
        "e": text,
    }
    deep = json.loads('{"a": ' * 100 + "1" + "}" * 100)
    assert max(path.count(".") for path in nested.paths(nested.shape([deep]))) <= nested.DEPTH
