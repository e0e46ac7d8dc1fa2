"""Laws of data.columns: the columns are those that are named, else those with known names, each used at most once."""

import pytest
from hypothesis import given, strategies as st

from jaxrec.data import columns
from jaxrec.data.columns import KNOWN, ROLES, choose, known, plain, said
from jaxrec.system.errors import UserError


def spellings(name):
    """A known name in the spellings that people use."""
    head, tail = name[:-2], name[-2:]
    return {
        name,
        name.upper(),
        name.capitalize(),
        f"{head}_{tail}",
        f"{head} {tail.title()}",
        f" {name}:token",
        f"{head}-{tail}",
        f"\ufeff\u200b{head}\xa0{tail}",
    }


@pytest.mark.parametrize("role", ROLES)
def test_every_known_name_is_known_however_it_is_written(role):
    rest = {"user": "userid", "item": "itemid"}
    for name in KNOWN[role].split():
        for spelling in spellings(name):
            assert plain(spelling) == name
            assert known(spelling) == (role in ("user", "item", "session"))
            names = ["x", *(other for each, other in rest.items() if each != role), spelling]
            assert choose(names, {}, "f")[role] == len(names) - 1


def test_no_name_is_two_roles():
    words = [word for names in KNOWN.values() for word in names.split()]
    assert len(words) == len(set(words))


@given(st.permutations(["user_id", "item_id", "timestamp", "rating", "event_type", "session_id", "title", "x"]))
def test_the_order_of_the_columns_is_nothing(names):
    chosen = choose(names, {}, "f")
    assert list(chosen) == list(ROLES)
    wanted = ["user_id", "item_id", "timestamp", "rating", "event_type", "session_id"]
    assert [names[at] for at in chosen.values()] == wanted


@given(st.permutations(list("abcdef")), st.booleans())
def test_what_is_named_is_taken(names, by_number):
    named = zip(ROLES, "abcdef", strict=True)
    given = {role: str(names.index(name) + 1) if by_number else name for role, name in named}
    assert [names[at] for at in choose(names, given, "f").values()] == list("abcdef")


def test_what_is_named_is_taken_before_what_is_known():
    names = ["user_id", "item_id", "author", "time", "2"]
    assert choose(names, {"user": "author"}, "f") == {"user": 2, "item": 1, "time": 3}
    assert choose(names, {"item": "user_id"}, "f") == {"user": 2, "item": 0, "time": 3}
    assert choose(names, {"weight": "2"}, "f")["weight"] == 4  # names take precedence over numbers
    assert choose(names, {"weight": "3"}, "f")["weight"] == 2


def test_a_name_is_taken_as_it_is_seen():
    names = ["viewer\xa0id", "\ufefffilm\u200b", "Film", "when"]
    assert choose(names, {"user": "viewer id", "item": "film"}, "f") == {"user": 0, "item": 1}
    assert choose(names, {"user": "VIEWER_ID", "item": "Film"}, "f") == {"user": 0, "item": 2}  # exact match first
    with pytest.raises(UserError, match=r"--item FILM: two columns have this name: .* --item 2 or 3"):
        choose(names, {"user": "when", "item": "FILM"}, "f")


@pytest.mark.parametrize("name", ["who:last", "_", "who:"])
def test_what_follows_a_colon_tells_names_apart_unless_it_is_a_type_of_recbole(name):
    assert columns.places(name, ["who:first", "what:id", "-"]) == []
    assert columns.places("Who:First", ["what:id", "who:first"]) == [1]
    assert columns.places("user_id", ["item_id:token", "user_id:token"]) == [1]


def test_the_first_of_the_known_names_wins():
    assert choose(["user", "item", "customer", "user_id", "sku"], {}, "f") == {"user": 3, "item": 1}


def test_a_role_is_known_by_name_where_that_is_allowed():
    names = ["user", "item", "rating"]
    assert choose(names, {}, "f", ["user", "item"]) == {"user": 0, "item": 1}
    assert choose(names, {"weight": "rating"}, "f", ["user", "item"]) == {"user": 0, "item": 1, "weight": 2}


def test_sessions_may_stand_for_users():
    assert choose(["SessionID", "ItemID"], {}, "f") == {"item": 1, "session": 0}


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        (
            ["a", "b"],
            {},
            r"f: no column for the user .* the columns are a, b: .* with --user COLUMN or --session COLUMN",
        ),
        (["user", "b"], {}, r"f: no column for the item .* with --item COLUMN"),
        (["user", "item"], {"time": "when"}, r"f: --time when: no such column; the columns are user, item"),
        (["user", "item"], {"time": "3"}, "f: --time 3: no such column"),
        (["user", "item"], {"time": "0"}, "f: --time 0: no such column"),
        (
            ["user", "item"],
            {"user": "item", "item": "2"},
            "f: one column cannot be two things: user = item, item = item",
        ),
        (
            ["user_id", "item", "USER-ID"],
            {},
            "f: user_id, USER-ID could all be the user: choose one, such as --user user_id",
        ),
    ],
)
def test_what_is_missing_is_said(names, given, message):
    with pytest.raises(UserError, match=message):
        choose(names, given, "f")


def test_two_columns_of_one_name_are_told_apart_by_their_numbers():
    names = ["user", "item", "item", "time"]
    with pytest.raises(UserError, match=r"two columns are called item: rename one, or .*, --item 2 or"):
        choose(names, {}, "f")
    with pytest.raises(UserError, match=r"--item item: two columns have this name: rename one, or .* --item 2 or 3"):
        choose(names, {"item": "item"}, "f")
    assert choose(names, {"item": "3"}, "f") == {"user": 0, "item": 2, "time": 3}


def test_columns_called_by_numbers_are_not_guessed():
    names = ["0", "1", "2"]
    assert choose(names, {"user": "0", "item": "1"}, "f") == {"user": 0, "item": 1}
    assert choose(names, {"user": "2", "item": "0"}, "f") == {"user": 2, "item": 0}
    with pytest.raises(UserError, match=r"f: --user 1 may be the column called 1, or the one before it"):
        choose(names, {"user": "1", "item": "2"}, "f")
    with pytest.raises(UserError, match=r"such as --user 0 --item 1 if these are their names"):
        choose(names, {}, "f")


def test_the_choice_in_words():
    names = ["a", "b", "Stars"]
    assert said(names[:2], {"user": 1, "item": 0}) == "columns: user = b, item = a"
    unread = "columns: user = a, item = b; Stars is not read: --weight Stars reads it as the weight"
    assert said(names, {"user": 0, "item": 1}) == unread
    assert "not read" not in said(names, {"user": 0, "item": 1}, {"weight": ""})
    assert "not read" not in said(names, {"user": 0, "item": 1, "weight": 2})
    spaced = said(["a", "b", "Event Type"], {"user": 0, "item": 1})
    assert spaced.endswith("; Event Type is not read: --type 'Event Type' reads it as the types of events")
    other = said(["a", "item_id", "product_id"], {"user": 0, "item": 1})
    assert other.endswith("; product_id is not read: --item product_id reads it as the item")
    assert "not read" not in said(["a", "item_id", "product_id"], {"user": 0, "item": 1}, {"item": "item_id"})
    for name in ("event_type", "Action", "events.type"):
        unread = f"columns: user = a, item = b; {name} is not read: --type {name} reads it as the types of events"
        assert said(["a", "b", name], {"user": 0, "item": 1}) == unread
        assert "not read" not in said(["a", "b", name], {"user": 0, "item": 1, "type": 2})
        assert "not read" not in said(["a", "b", name], {"user": 0, "item": 1}, {"type": ""})


@given(st.text(max_size=6), st.integers(1, 30))
def test_a_column_is_named_by_its_number_or_not_at_all(text, width):
    names = [f"c{number}" for number in range(1, width + 1)]
    found = columns.number_of(text, names)
    assert found is None or (0 <= found < width and int(text) == found + 1)
    assert [columns.number_of(str(number), names) for number in range(1, width + 1)] == list(range(width))
    assert columns.number_of("9" * 5_000, names) is None
