"""Laws of data.ids: ids are kept as they are, or the column is refused."""

import csv
import io
import itertools
import json
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, strategies as st

from jaxrec.data.ids import Ids
from jaxrec.data.reading import read
from jaxrec.data.values.spellings import MISSING
from jaxrec.system.errors import UserError

START = 1_396_321_200


def collected(*batches, kind="", keep_na=False):
    """The Ids of columns from several files, one column per file, without bad values."""
    ids = Ids("what", kind, keep_na)
    for number, values in enumerate(batches, 1):
        series = values if isinstance(values, pl.Series) else pl.Series(values)
        tokens, wrong = ids.clean(series, f"{number}.csv", lambda index: f"row {index + 1}")
        assert not any(mask.any() for mask, _ in wrong)
        ids.number(tokens, f"{number}.csv")
    return ids


def ids_of(*batches, **options):
    return collected(*batches, **options).order()[0].tolist()


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (
            [["1", "2"], ["1.0", "2.0"]],
            r"^2.csv: column what holds floats \(1.0\) beside 1 \(in 1.csv\): .*--ids integer",
        ),
        ([["1.0", "2.0"], ["1"]], r"^1.csv: column what holds floats \(1.0\) beside 1 \(in 2.csv\)"),
        ([["1.0", "2.0"]], r"^1.csv: column what holds floats \(1.0\): an id is .*--ids text"),
        ([["153.", "154."]], r"holds floats \(153.\)"),
        ([[".5", "1"]], r"holds floats \(.5\) beside 1"),
        ([["-1.0", "5"]], r"holds floats \(-1.0\) beside 5"),
        ([["5", "6", "guest", "7.0"]], r"holds floats \(7.0\) beside 5"),
        ([["guest", "a", "b", "c", "1", "1.0"]], r"holds floats \(1.0\) beside 1"),
        ([["guest", "a", "b", "c", "1.0", "1.00"]], r"holds floats \(1.0\): "),
        ([["a", "b", "c", "d", "100000", "1e5"]], r"scientific notation \(1e5\)"),
        ([["1.00878E+11", "1.00878E+11"]], r"scientific notation \(1.00878E\+11\), which may have lost digits"),
        ([["7", "1.2345678901234568e+18"]], "write them in full; --ids integer .*--ids text"),
        ([["1e+05", "99999"]], "scientific"),
        ([["a", "b", "c", "1e5", "1.23E+11"]], r"scientific notation \(1.23E\+11\)"),
        ([["a", "b"], ["c", "1e+18"]], r"^2.csv: .*scientific notation \(1e\+18\)"),
        ([["1,0"], ["1"]], r"^1.csv: column what holds floats \(1,0\) beside 1 \(in 2.csv\): .*--ids integer"),
        ([["1,0", "12,00"]], r"holds floats \(1,0\): "),
        ([["a", "b", "c", "1,0", "1"]], r"holds floats \(1,0\) beside 1"),
        ([["1,00878E+11", "2"]], r"scientific notation \(1,00878E\+11\)"),
        ([pl.Series([1, 2]), pl.Series(["1.0"])], r"^2.csv: .*\(1.0\) beside 1 \(in 1.csv\)"),
        ([pl.Series([2**60]), pl.Series([f"{2**60}.0"])], r"beside 1152921504606846976 \(in 1.csv\)"),
        (
            [["007", "8"], ["7"]],
            r"^1.csv: column what holds 007 beside 7 \(in 2.csv\): .*--ids integer takes 007 for 7; ",
        ),
        (
            [["b", "0104", "104"]],
            r"^1.csv: column what holds 0104 beside 104: .*leading zeros: .* way; --ids text takes",
        ),
        ([["-07", "-7"]], "holds -07 beside -7"),
        ([["00", "0"]], "holds 00 beside 0"),
        ([pl.Series([2**40]), pl.Series([f"0{2**40}"])], r"^2.csv: .* beside 1099511627776 \(in 1.csv\)"),
        ([pl.Series([1.0, 2.5])], r"^1.csv, row 2: column what holds floats \(2.5\)"),
        ([pl.Series([1.0, 2.0**53])], r"^1.csv, row 2: .*holds floats \(9007199254740992.0\)"),
        ([pl.Series([1.0, 2.0**24], dtype=pl.Float32)], r"row 2: .*holds floats \(16777216.0\)"),
        ([pl.Series([1.0, float("inf")])], r"row 2: .*holds floats \(inf\)"),
        ([pl.Series(["1.5"]).cast(pl.Decimal(9, 2))], r"row 1: .*holds floats \(1.50\)"),
    ],
)
def test_a_column_of_ids_that_read_as_floats_is_refused(batches, message):
    with pytest.raises(UserError, match=message):
        ids_of(*batches)


@pytest.mark.parametrize(
    "tokens",
    [
        ["a", "1e5"],
        ["v1", "v2", "1.5"],
        ["1.2.3", "1.2.4"],
        ["007", "07", "8"],
        ["+7", "8"],
        ["-0", "1"],
        ["1,5", "1"],
        ["1,234", "1"],
        ["1,0", "1,1", "2,0", "2,1"],
        ["12,34", "1234"],
        ["1e", "e5"],
    ],
)
def test_what_may_be_a_word_is_kept_as_it_stands(tokens):
    assert ids_of(tokens) == sorted(tokens)


@given(st.lists(st.tuples(st.sampled_from(["", "0", "00"]), st.integers(0, 30)), min_size=2, max_size=8))
def test_a_number_with_and_without_zeros_is_refused_and_both_cures_read_it(parts):
    tokens = [f"{zeros}{number}" for zeros, number in parts]
    wanted = {kind: sorted({*map(kind, tokens)}) for kind in (int, str)}
    assert ids_of(tokens, kind="integer") == wanted[int] and ids_of(tokens, kind="text") == wanted[str]
    if {token for token in tokens if str(int(token)) != token and str(int(token)) in tokens}:
        with pytest.raises(UserError, match=r"leading zeros: .*; --ids integer takes 0\d+ for \d+; --ids text takes"):
            ids_of(tokens)
    else:
        assert list(map(str, ids_of(tokens))) == [
            *map(str, wanted[int] if set(tokens) == {*map(str, wanted[int])} else wanted[str])
        ]


@given(st.lists(st.sampled_from(["7", "007", "7.0", "8", "-8", "+8", "1,234", "90"]), min_size=1, max_size=8))
def test_what_integer_reads_in_another_spelling_is_said(tokens):
    found = [*collected(*([token] for token in tokens), kind="integer").notes()]
    other = next((token for token in tokens if token not in ("7", "8", "-8", "90")), None)
    number = other and int(other.removesuffix(".0").replace(",", ""))
    assert found == [f"what: all spellings of an integer are one id: {other} is {number}"] * bool(other)


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (pl.Float64, [0.0, -7.0, 2.0**53 - 1]),
        (pl.Float32, [3.0, 2.0**24 - 1]),
        (pl.Decimal(20, 2), [1, 2]),
        (pl.Decimal(38, 0), [2**62, 5]),
    ],
)
@pytest.mark.parametrize("kind", ["", "integer"])
def test_a_column_of_whole_floats_is_one_of_integers_and_said(dtype, values, kind):
    ids = collected(pl.Series(values).cast(dtype), pl.Series([5, 6]), kind=kind)
    assert ids.notes() == ["what: floats, all of them whole numbers, read as integers"]
    found, _ = ids.order()
    assert found.dtype == np.int64 and found.tolist() == sorted({*map(int, values), 5, 6})


def test_missing_floats_are_no_ids():
    tokens, wrong = Ids("what").clean(pl.Series([1.0, float("nan"), None]), "f")
    assert tokens.to_list() == [1, None, None] and wrong[0][0].to_list() == [False, True, True]


def test_columns_of_words_stay_so_where_integers_are_asked_for():
    assert ids_of(["a", "b"], ["c", "7"], kind="integer") == ["7", "a", "b", "c"]
    _, wrong = (ids := Ids("what", "integer")).clean(pl.Series(["1.0", "guest"]), "f")
    why = "what is not exactly an integer: --ids text takes ids as they stand, --ids item=text those of items"
    assert [said for mask, said in wrong if mask[1]] == [why]
    assert ids.clean(pl.Series(["2.0"]), "f")[0].to_list() == [2]


@pytest.mark.parametrize("keep", [False, True])
def test_words_for_a_missing_value_are_missing_unless_they_are_kept(keep):
    near = ["na", "NaN1", "N A", "N", "/", "a-", "---", "-1", "Nancy"]
    assert {"NIL", "(None)", "<none>", "[NaN]", "Undefined", "#NV", "#N/D", "#VALEUR!", "1.#QNAN"} <= set(MISSING)
    words = [*MISSING, *(f" {word}\t" for word in MISSING), " ", "\t", "\xa0", "\u3000"]
    _, wrong = Ids("what", keep_na=keep).clean(pl.Series([*words, *near, "", None]), "f")
    bad = np.any([mask.to_numpy() for mask, _ in wrong], axis=0).tolist()
    assert bad == [not keep] * len(words) + [False] * len(near) + [True, True]


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=5)
odd = st.sampled_from(
    [
        *MISSING,
        "1.0",
        "1",
        "1e5",
        " ",
        " a",
        "a ",
        "a\rb",
        "\r",
        "01",
        "-0",
        "\u2028",
        "e\u0301",
        "\u00e9",
        '"',
        ",",
        "1.00878E+11",
    ]
)
tables = st.lists(st.tuples(texts | odd, texts | odd), min_size=1, max_size=6)


def in_csv(rows, path):
    out = io.StringIO()
    quoting = csv.QUOTE_ALL if any("\r" in id for row in rows for id in row[:2]) else csv.QUOTE_MINIMAL
    csv.writer(out, lineterminator="\n", quoting=quoting).writerows([["user", "item", "time"], *rows])
    path.write_bytes(out.getvalue().encode())


def in_json(rows, path):
    path.write_text("".join(json.dumps(dict(zip(["user", "item", "time"], row, strict=True))) + "\n" for row in rows))


def in_parquet(rows, path):
    pl.DataFrame(rows, ["user", "item", "time"], orient="row").write_parquet(path)


WRITERS = {"a.csv": in_csv, "a.jsonl": in_json, "a.parquet": in_parquet}


def pairs_of(data):
    """(user, item) of every row."""
    users = np.repeat(np.arange(len(data.users)), np.diff(data.offsets))
    of_users, of_items = data.users.tolist(), data.catalogue.ids.tolist()
    return [(of_users[user], of_items[item - 1]) for user, item in zip(users, data.items.tolist(), strict=True)]


@pytest.mark.parametrize("name", WRITERS)
@given(tables)
def test_with_text_and_words_kept_every_id_comes_back(name, rows):
    rows = [*rows, ("u", "i"), ("u", "j")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        WRITERS[name]([(*row, START + at) for at, row in enumerate(rows)], path)
        if name.endswith("csv"):  # \r\n is read as \n, even within quotes
            rows = [tuple(id.replace("\r\n", "\n") for id in row) for row in rows]
        found = pairs_of(read(path, ids="text", keep_na_ids=True))
        assert sorted(found) == sorted(rows)
        try:
            found = pairs_of(read(path))
        except UserError as error:
            assert any(
                part in str(error)
                for part in ("is a missing value", "is empty", "floats", "scientific", "become two", "histories")
            )
        else:
            assert sorted((str(user), str(item)) for user, item in found) == sorted(rows)


@pytest.mark.parametrize("name", WRITERS)
def test_text_is_text_even_of_integers(tmp_path, name):
    WRITERS[name]([("1", "5", START), ("1", "6", START)], tmp_path / name)
    assert pairs_of(read(tmp_path / name, ids="text")) == [("1", "5"), ("1", "6")]
    assert pairs_of(read(tmp_path / name)) == [(1, 5), (1, 6)]


@pytest.mark.parametrize("lines", [1, 2])  # 2: with blank lines, which the slow reader takes
def test_numbers_in_json_are_ids_as_they_are_written(tmp_path, lines):
    rows = ['{"user": 1.0, "item": 1}', '{"user": 1, "item": 10000000000000001.0}', '{"user": -0, "item": 3e2}']
    (tmp_path / "a.jsonl").write_text(("\n" * lines).join(rows) + "\n")
    found = pairs_of(read(tmp_path / "a.jsonl", ids="text"))
    assert sorted(found) == [("-0", "3e2"), ("1", "10000000000000001.0"), ("1.0", "1")]
    with pytest.raises(UserError, match=r"a\.jsonl: column item holds ids in scientific"):
        read(tmp_path / "a.jsonl")


def test_half_a_character_in_json_is_a_bad_row(tmp_path):
    rows = [{"user": "a\ud800", "item": 1}, {"user": "a\ud801", "item": 2}, {"user": "\U0001f600", "item": 2}]
    rows += [{"user": "\U0001f600", "item": 1}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=r"line 1: .*user holds half a character.*\n.*line 2: "):
        read(tmp_path / "a.jsonl")
    assert pairs_of(read(tmp_path / "a.jsonl", skip_bad_rows=True)) == [("\U0001f600", 2), ("\U0001f600", 1)]


def test_a_key_twice_in_json_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"user": 1, "item": 2, "item": 3}\n')
    with pytest.raises(UserError, match="the key 'item' has two values"):
        read(tmp_path / "a.jsonl")


def test_spaces_go_where_they_are_the_file_s_style(tmp_path):
    rows = {"1, a, 5\n1, b, 6\n": ["a", "b"], "1, a,5\n1, b,6\n": [" a", " b"]}
    rows |= {"1,a,5\n1, a,6\n": [" a", "a"]}
    headers = ("user, item, time\n", "user,item,time\n")
    for header, (text, wanted) in itertools.product(headers, rows.items()):
        (tmp_path / "a.csv").write_text(header + text)
        wanted = sorted({each.strip() for each in wanted}) if ", " in header else wanted
        if len(wanted) < 2:
            continue
        assert read(tmp_path / "a.csv").catalogue.ids.tolist() == wanted
    (tmp_path / "b.csv").write_text("1, a, 5\n1, b, 6\n")
    numbers = {"user": "1", "item": "2", "time": "3"}
    assert read(tmp_path / "b.csv", columns=numbers).catalogue.ids.tolist() == ["a", "b"]


@pytest.mark.parametrize("name", ["sequences.txt", "pairs.txt"])
def test_lines_of_histories_have_the_same_ids(tmp_path, name):
    path = tmp_path / name
    path.write_text("1 10\n1.0 11\n2 12.0\n")
    with pytest.raises(UserError, match=rf"{name}: column item holds floats \(12.0\) beside 10"):
        read(path)
    assert read(path, ids="text").catalogue.ids.tolist() == ["10", "11", "12.0"]
    path.write_text("1 10\n2.0 11\n3 12.0\n")
    whole = read(path, ids="integer")
    assert whole.catalogue.ids.tolist() == [10, 11, 12] and whole.users.tolist() == [1, 2, 3]
    path.write_text("a 10\nb 11.0\nc 12.0\n")
    assert read(path, ids="integer").users.tolist() == ["a", "b", "c"]
    path.write_text("1 10\n2 NA\n3 12\n")
    with pytest.raises(UserError, match=rf"{name}, line 2: '2 NA': item is a missing value"):
        read(path)
    assert read(path, skip_bad_rows=True).users.tolist() == [1, 3]
    assert read(path, keep_na_ids=True).catalogue.ids.tolist() == ["10", "12", "NA"]


def test_bytes_are_no_text_even_where_they_could_be():
    ids = pl.Series([bytes(15) + b"a", bytes(15) + b"b"])  # UUIDs, as pyarrow stores them
    with pytest.raises(UserError, match="column what holds bytes that are not UTF-8: write it as text"):
        Ids("what").clean(ids, "f")


def test_the_kind_of_ids_may_be_said_of_some_columns(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user,item\n17850.0,85123A\n17850.0,POST\n13047.0,22423\n")
    with pytest.raises(UserError, match="not exactly an integer"):
        read(path, ids="integer")
    found = read(path, ids="user=integer")
    assert found.users.tolist() == [13047, 17850] and found.catalogue.ids.tolist() == ["22423", "85123A", "POST"]
    path.write_text("user,item\n1.0,1.0\n1.0,2.0\n")
    found = read(path, ids="user=integer, item=text")
    assert found.users.tolist() == [1] and found.catalogue.ids.tolist() == ["1.0", "2.0"]
    for wrong in ("float", "user=float", "weight=text", "user=integer,,", "text,item=text"):
        with pytest.raises(UserError, match="choose one of integer, text, or say it of a role"):
            read(path, ids=wrong)


@pytest.mark.parametrize(
    "missing, cure",
    [("user", "--user none reads the rows by session"), ("session", "--session none reads them without")],
)
def test_where_users_or_sessions_are_missing_the_other_is_proposed_and_reads_all(tmp_path, missing, cure):
    path = tmp_path / "a.csv"
    rows = [{"user": f"u{at % 2}", "session": f"s{at % 3}", "item": f"i{at}"} for at in range(6)]
    rows[2][missing] = ""
    pl.DataFrame(rows).write_csv(path)
    with pytest.raises(UserError, match=f"{missing} is empty; {cure}"):
        read(path)
    assert len(read(path, columns={missing: ""}).items) == 6
