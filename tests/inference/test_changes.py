"""Changes of a catalogue are read as they were written, and applied again give the same catalogue."""

from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from recommenders import recommender

from jaxrec.inference import changes
from jaxrec.inference.changes import Change
from jaxrec.inference.stock import NewItem
from jaxrec.system.errors import UserError

ID = st.text() | st.integers()
IDS = st.lists(ID, max_size=3)
ITEMS = st.builds(
    NewItem, st.text() | st.integers(), IDS, st.dictionaries(st.text(), st.none() | st.text(), max_size=2)
)
CHANGES = st.lists(st.builds(Change, st.lists(ITEMS, max_size=3), IDS), max_size=4)


@given(CHANGES)
def test_what_is_written_is_read(made):
    text = b"".join(map(changes.line, made))
    assert list(changes.parsed(text, Path("x"))) == made and text.count(b"\n") == len(made)


@given(CHANGES, st.integers(0, 40))
def test_a_last_line_that_is_not_whole_was_never_in_force(tmp_path_factory, made, cut):
    path = tmp_path_factory.mktemp("changes") / "stock.jsonl"
    path.write_bytes(b"".join(map(changes.line, made)) + changes.line(Change([], ["x"] * 9))[:cut])
    assert changes.read(path) == made


def test_what_is_no_change_is_named(tmp_path):
    path = tmp_path / "stock.jsonl"
    with pytest.raises(UserError, match=r"stock\.jsonl: can't be read: No such file or directory"):
        changes.read(path)
    path.write_bytes(changes.line(Change([], ["x"])) + b"[]\n")
    with pytest.raises(UserError, match=r"stock\.jsonl, line 2: not a change of a catalogue"):
        changes.read(path)


def test_made_anew_they_leave_the_same_catalogue():
    made = [
        Change([NewItem("n1", ["i5"], {"year": 1990}), NewItem("n2", ["n1", "i9"])], ["i3"]),
        Change([NewItem("n3", ["n2"])], ["n1", "i7"]),
        Change([NewItem("i3"), NewItem("n1")], ["n3"]),
    ]
    first = now = recommender("sasrec")
    for change in made:
        now = now.changed(change.added, change.retired)
    again = changes.onto(first, made)
    everything = lambda rec: rec.recommend(["i17", "n2"], k=10_000, exclude_seen=False)
    assert everything(again) == everything(now) and again.catalogue.ids.tolist() == now.catalogue.ids.tolist()
    assert {"i3", "n1", "n2"} <= {id for id, _ in everything(again)} and again.similar("n1", 5) == now.similar("n1", 5)


def test_what_no_longer_applies_is_left_out(caplog):
    first = recommender("sasrec")
    gone = Change([NewItem("i5", ["i1"]), NewItem("n1", ["gone"]), NewItem("n2", ["gone", "i2"])], ["gone", "i3"])
    now = changes.onto(first, [gone])
    assert now.catalogue.ids.tolist() == [*first.catalogue.ids.tolist(), "n2"]
    assert not now.offered[now.catalogue.ids.tolist().index("i3")] and "'n1' is like items" in caplog.text


def test_what_another_table_of_items_does_not_take_is_left_out(caplog):
    """Attributes that its items lack or have in another type, and items of which nothing else is known."""
    kept = [NewItem("n1", ["i5"], {"colour": "red", "year": "1990?"}), NewItem("n2", [], {"colour": "red"})]
    kept += [NewItem("n3", ["n2"]), NewItem("n4", ["n1", "i2"], {"year": 1991})]
    first = recommender("sasrec")
    now = changes.onto(first, [Change(kept, ["n4", "n2"])])
    assert now.catalogue.ids.tolist() == [*first.catalogue.ids.tolist(), "n1", "n4"]
    assert now.catalogue.about["year"].to_list()[-2:] == [None, 1991] and not now.offered[-1]
    for said in ("colour of 'n1'", "year of 'n1'", "'n2' does not apply any more", "'n3' does not apply any more"):
        assert said in caplog.text
