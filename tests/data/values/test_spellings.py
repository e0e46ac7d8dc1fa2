"""Laws of data.values.spellings: an id in two spellings is refused, and the suggested cures read both."""

import polars as pl
import pytest
from hypothesis import given, strategies as st

from jaxrec.data.ids import Ids
from jaxrec.data.values.spellings import as_seen, integers
from jaxrec.system.errors import UserError


def collected(*batches, kind=""):
    """The ids of some columns, one column per file."""
    ids = Ids("what", kind)
    for number, values in enumerate(batches, 1):
        series = values if isinstance(values, pl.Series) else pl.Series(values)
        ids.number(ids.clean(series, f"{number}.csv")[0], f"{number}.csv")
    return ids


def ids_of(*batches, kind=""):
    return collected(*batches, kind=kind).order()[0].tolist()


WHOLE = {
    "5": 5,
    "+5": 5,
    "007": 7,
    "-3": -3,
    "1.0": 1,
    "153.": 153,
    "-2.00": -2,
    "1e5": 100_000,
    "1e+05": 100_000,
    "1.5e1": 15,
    str(2**53 - 1): 2**53 - 1,
    f"{2**53 - 1}.0": 2**53 - 1,
    str(2**63 - 1): 2**63 - 1,
    f"{2**53}.0": None,
    f"-{2**53}.0": None,
    "9e15": 9 * 10**15,
    "1e17": None,
    "1.5e2": None,
    str(2**63): None,
    "1.5": None,
    "1e-1": None,
    "1.00878E+11": None,
    "1.23E+11": None,
    "1.2345678901234568e+18": None,
    "1e999999": None,
    "a": None,
    "0x10": None,
    "1,0": 1,
    "1,000": 1000,
    "1,5": None,
    "1,00878E+11": None,
    " 1": 1,
    "1 2": None,
    "٣": 3,
    "": None,
}


def test_integers_are_exact_or_none():
    assert dict(zip(WHOLE, integers(pl.Series(list(WHOLE))).to_list(), strict=True)) == WHOLE


SPACED = "what: spaces at the ends of ids, and invisible characters, are part of them, as in "


def test_spaces_are_parts_of_ids_and_said():
    ids = collected(["a", "a ", " b"])
    assert ids.order()[0].tolist() == [" b", "a", "a "]
    assert ids.notes() == [f"{SPACED}'a '"]


@pytest.mark.parametrize("id", ["a\xa0", "\ufeffa", "a\u200b", "a\t", "a\u3000", "10\xa020"])
def test_what_a_person_does_not_see_of_an_id_is_said(id):
    ids = collected(["b", "c", id])
    assert ids.order()[0].tolist() == sorted(["b", "c", id]) and ids.notes() == [f"{SPACED}{id!r}"]


@pytest.mark.parametrize("id", ["a b", "\u0645\u06cc\u200c\u062e", "\xe9", "\u6771\u4eac", "a\u2014b"])
def test_ids_of_which_all_is_seen_have_no_note(id):
    assert not collected(["b", "c", id]).notes()


TWINS = {  # an id -> other spellings of it
    "1234": [
        "1,234",
        "1 234",
        "1\xa0234",
        "1'234",
        "1\u2019234",
        "1\u202f234",
        "+1234",
        "1234 ",
        "\ufeff1234",
        '="1234"',
        "'1234",
    ],
    "1234567": ["12,34,567", "1.234.567", '="01234567"'],
    "12": ["+12", "\uff11\uff12", "\u0661\u0662", "12\u200b", "012", " 12"],
    "0": ["-0", "+0", "00"],
    "-5": ["-5\t", "-05"],
    "abc": ["abc\xa0", "\u200babc", "ab\xadc", "abc\t", "\ufeffabc"],
    "user 1": ["user\xa01", "user 1\u3000"],
}


@pytest.mark.parametrize(("id", "other"), [(id, other) for id, others in TWINS.items() for other in others])
@pytest.mark.parametrize("apart", [False, True])
def test_two_ids_that_are_one_in_another_spelling_are_refused_and_the_cures_read_them(id, other, apart):
    batches = [[other, "7"], [id]] if apart else [["7", id, other]]
    number = id.lstrip("-").isdecimal()
    with pytest.raises(UserError, match=r"^1.csv: column what holds .* beside .*one id may have become two") as error:
        ids_of(*batches)
    assert ("--ids integer takes" in str(error.value)) == number and str(error.value).isprintable()
    assert ids_of(*batches, kind="text") == sorted(["7", id, other])
    assert not number or ids_of(*batches, kind="integer") == sorted([7, int(id)])
    assert ids_of([other, "x7"]) == sorted([other, "x7"])  # without another spelling it is kept


@pytest.mark.parametrize("other", ["e\u0301te\u0301", "\xe9te\u0301"])
def test_words_whose_accents_are_characters_of_their_own_are_ids_and_said(other):
    ids = collected(["\xe9t\xe9", other, "a"])
    assert ids.order()[0].tolist() == sorted(["\xe9t\xe9", other, "a"])
    assert "look alike but are two ids" in ids.notes()[0]
    assert not collected([other, "a"]).notes()


def test_two_spellings_of_a_number_that_is_not_there_plainly_are_refused():
    with pytest.raises(UserError, match=r"^2.csv: column what holds '1 234' beside 1,234 \(in 1.csv\): .*for 1234; "):
        ids_of(["5", "1,234"], ["1 234", "1'234"])


@pytest.mark.parametrize(
    "dtypes", [(pl.Float64, pl.Int64), (pl.Decimal(9, 2), pl.Float32), (pl.Int8, pl.Decimal(9, 4))]
)
def test_a_number_is_one_text_whatever_the_type_of_its_column(dtypes):
    assert ids_of(*(pl.Series([1, 20]).cast(each) for each in dtypes), kind="text") == ["1", "20"]
    halves = [pl.Series([1.5, 20.25]).cast(each) for each in dtypes if not each.is_integer()]
    assert ids_of(*halves, kind="text") == ["1.5", "20.25"]


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=6)))
def test_how_words_look_depends_on_each_alone_and_stays(words):
    found = as_seen(pl.Series(words, dtype=pl.String)).to_list()
    assert found == [as_seen(pl.Series([word]))[0] for word in words]
    assert as_seen(pl.Series(found, dtype=pl.String)).to_list() == found
    assert all(a == b for a, b in zip(words, found, strict=True) if a.isascii() and a.isalpha())


marks = st.sampled_from([",", "'", "\u2019", " ", "\xa0", "\u202f", "\u2009", "_", ""])


@given(st.integers(-(10**12), 10**12), marks, st.sampled_from(["", "+"]), st.integers(0, 9))
def test_a_number_is_read_in_any_spelling(number, mark, sign, script):
    sign = sign if number >= 0 else ""
    digits = str.maketrans({str(at): chr((48, 0x660, 0xFF10, 0x966)[script % 4] + at) for at in range(10)})
    written = f"{sign}{number:,}".replace(",", "," if mark == "_" else mark).translate(digits)
    assert integers(pl.Series([written])).to_list() == [number]
    padded = f"\ufeff {written}\xa0"
    assert as_seen(pl.Series([written, padded])).to_list() == [str(number)] * 2
