"""Laws of data.tabular: what a table holds is read, or reported as not read."""

import json

import polars as pl
import pytest
from ways import START

from jaxrec.data.reading import read
from jaxrec.system.errors import UserError


def test_lists_of_items_beside_an_item_are_said(tmp_path):
    frame = pl.DataFrame({"user": [1, 2], "item_id_list": [[1, 2], [4]], "item_id": [9, 8]})
    frame.write_parquet(tmp_path / "a.parquet")
    said = []
    assert read(tmp_path / "a.parquet", say=said.append).catalogue.ids.tolist() == [8, 9]
    assert "item_id_list is not read: --item item_id_list reads its lists as histories" in said[0]
    data = read(tmp_path / "a.parquet", columns={"item": "item_id_list"}, say=said.append)
    assert data.catalogue.ids.tolist() == [1, 2, 4] and "not read" not in said[1]


EVENTS = {"user": 1, "events": [{"aid": 5, "kind": "view", "ts": START + 9, "seen": START},
                                {"aid": 6, "kind": "view", "ts": START, "seen": START + 9}]}  # fmt: skip


@pytest.mark.parametrize(
    ("time", "items"), [({}, [6, 5]), ({"time": "events.seen"}, [5, 6]), ({"time": "none"}, [5, 6])]
)
def test_the_time_beside_an_item_in_its_record_is_taken_unless_another_is_named(tmp_path, time, items):
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(EVENTS)}\n")
    found = read(tmp_path / "a.jsonl", columns={"item": "events.aid"} | time)
    assert found.catalogue.ids[found.items - 1].tolist() == items


def test_a_field_that_is_called_as_items_are_is_proposed_before_others(tmp_path):
    rows = [{"user": 1, "event": {"kind": "view", "item_id": item}} for item in (5, 6)]
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with pytest.raises(UserError, match=r"for a field of a record, --item event\.item_id"):
        read(tmp_path / "a.jsonl")
    assert read(tmp_path / "a.jsonl", columns={"item": "event.item_id"}).items.tolist() == [1, 2]


def test_of_two_lists_that_may_be_the_items_none_is_chosen(tmp_path):
    frame = pl.DataFrame({"user": [1, 2], "items": [[1, 2], [4]], "item_ids": [[7, 8], [9]]})
    frame.write_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match="no column for the item is recognised"):
        read(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", columns={"item": "items"}).catalogue.ids.tolist() == [1, 2, 4]


def test_lists_of_times_beside_lists_of_items_are_not_passed_over(tmp_path):
    frame = pl.DataFrame({"user": [1, 2], "items": [[1, 2], [4]], "moments": [[START + 9, START], [START]]})
    frame.write_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match="moments reads as times: take it with --time moments"):
        read(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", columns={"time": "moments"}).items.tolist() == [2, 1, 3]
