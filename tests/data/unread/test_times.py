"""Laws of data.unread.times: a column of times is read, or named in an error or a note."""

import re

import polars as pl
import pytest
from ways import START

from jaxrec.data.reading import read
from jaxrec.system.errors import UserError

CLOCK = {"csv": pl.DataFrame.write_csv, "jsonl": pl.DataFrame.write_ndjson, "parquet": pl.DataFrame.write_parquet}


@pytest.mark.parametrize("kind", CLOCK)
@pytest.mark.parametrize("dated", [False, True])
def test_an_unknown_column_of_times_is_named_and_the_order_of_the_file_must_be_asked_for(tmp_path, kind, dated):
    when = pl.Series("happened", [START + 5, START, START + 9])
    when = pl.from_epoch(when).dt.to_string("%Y/%m/%d %H:%M:%S") if dated else when
    path = tmp_path / f"a.{kind}"
    CLOCK[kind](pl.DataFrame({"user": [1, 1, 2], "stars": [3, 4, 5], "item": [1, 2, 1]}).with_columns(when), path)
    with pytest.raises(UserError, match=r"happened reads as times: take it with --time happened, or .* --time none"):
        read(path)
    assert read(path, columns={"time": "happened"}).items.tolist() == [2, 1, 1]
    for declined in ("none", ""):
        found = read(path, columns={"time": declined})
        assert found.items.tolist() == [1, 2, 1] and found.times is None


def test_the_order_is_asked_for_by_numbers_where_there_is_no_header(tmp_path):
    (tmp_path / "a.csv").write_text(f"1,1,3,{START}\n1,2,4,{START}\n")
    columns = {"user": "1", "item": "2"}
    with pytest.raises(UserError, match="column 4 reads as times: take it with --time 4"):
        read(tmp_path / "a.csv", columns=columns)
    assert read(tmp_path / "a.csv", columns=columns | {"time": "4"}).times is not None
    assert read(tmp_path / "a.csv", columns=columns | {"time": "none"}).times is None


def test_recbole_s_columns_of_times_are_known_too(tmp_path):
    (tmp_path / "a.inter").write_text(f"user_id:token\titem_id:token\tmoment:float\n1\t1\t{START}\n1\t2\t{START}\n")
    with pytest.raises(UserError, match="moment reads as times"):
        read(tmp_path / "a.inter")
    assert len(read(tmp_path / "a.inter", columns={"time": "moment"}).items) == 2


def test_times_of_32_bits_are_refused_and_small_ones_read(tmp_path):
    frame = pl.DataFrame({"user": [1, 1], "item": [1, 2], "time": pl.Series([START, START + 1], dtype=pl.Float32)})
    frame.write_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"column time holds floats of 32 bits.* --time none"):
        read(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", columns={"time": "none"}).times is None
    frame.with_columns(pl.col("time") - START).write_parquet(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet").relative


def test_dates_are_read_as_their_form_says(tmp_path):
    (tmp_path / "a.csv").write_text("user,item,date\n1,1,02/01/2020\n1,2,01/02/2020\n")
    with pytest.raises(UserError, match=r"line 2: .*date is no time: .*--time-format '%d/%m/%Y'"):
        read(tmp_path / "a.csv")
    for form, items in (("%d/%m/%Y", [1, 2]), ("%m/%d/%Y", [2, 1])):
        assert read(tmp_path / "a.csv", time_format=form).catalogue.ids.tolist() == [1, 2]
        assert read(tmp_path / "a.csv", time_format=form).items.tolist() == items
    with pytest.raises(UserError, match="--time-format soon: tells no date"):
        read(tmp_path / "a.csv", time_format="soon")
    with pytest.raises(UserError, match="no times for --time-format: name their column with --time"):
        read(tmp_path / "a.csv", columns={"time": "none"}, time_format="%d/%m/%Y")


def test_a_column_of_dates_that_could_be_two_days_needs_their_form(tmp_path):
    (tmp_path / "a.csv").write_text("user,item,when\n1,1,02/01/2020\n1,2,01/02/2020\n")
    with pytest.raises(
        UserError, match=r"when reads as times: take it with --time when --time-format '%d/%m/%Y' or '%m"
    ):
        read(tmp_path / "a.csv")
    assert read(tmp_path / "a.csv", columns={"time": "when"}, time_format="%d/%m/%Y").items.tolist() == [1, 2]


WRITTEN = {
    "28/Oct/2000:13:55:36 -0700": "%d/%b/%Y:%H:%M:%S %z",
    "2020-01-28 05:06:00,123": "%Y-%m-%d %H:%M:%S,%f",
    "28-JAN-20 05.06.00 AM": "%d-%b-%y %I.%M.%S %p",
    "2020-01-28T05:06:00+01:00[Europe/Berlin]": "%Y-%m-%dT%H:%M:%S%z[Europe/Berlin]",
    "2020-01-28 05:06:00 EST": None,
    "2020-W28": None,
    "Jan-06-24": "%b-%d-%y",
    "Jan 5, 2024 @ 14:03:11.000": "%b %d, %Y @ %H:%M:%S.%f",
    "2024年1月5日 14時03分": "%Y年%m月%d日 %H時%M分",
    "2024. 1. 5.": "%Y. %m. %d.",
    "2024-01-25-14.03.11.000000": "%Y-%m-%d-%H.%M.%S.%f",
    "2024:01:25 14:03:11": "%Y:%m:%d %H:%M:%S",
    "2024/1/5 下午2:03": None,
    "2024. 1. 5. 오후 2:03": None,
    "5 janvier 2024 à 14:03": None,
    "5 de enero de 2024": None,
    "5 januára 2024 r.": None,
    "05-ene-2024": None,
    "/Date(1704463391000)/": None,
    "14:03:11 Jan 05, 2024 PDT": None,
    "'2024-01-05 10:00": None,
}


@pytest.mark.parametrize("text", WRITTEN)
def test_a_column_of_times_that_are_not_read_is_not_passed_over(tmp_path, text):
    form = WRITTEN[text]
    pl.DataFrame({"user": [1, 1], "item": [1, 2], "die Zeit": [text, text]}).write_csv(tmp_path / "a.csv")
    take = f"take it with --time 'die Zeit' --time-format '{form}'," if form else "write its dates like 2014-04-01T03"
    with pytest.raises(UserError, match=f"but die Zeit reads as times: {re.escape(take)}"):
        read(tmp_path / "a.csv")
    if form:
        assert not read(tmp_path / "a.csv", columns={"time": "die Zeit"}, time_format=form).relative


@pytest.mark.parametrize("name", ["when", "timestamp"])
def test_periods_of_pandas_are_refused_as_times_and_passed_over_elsewhere(tmp_path, name):
    pandas = pytest.importorskip("pandas")
    days = pandas.Series(pandas.to_datetime(["2020-01-02", "2020-01-01"]))
    frame = pandas.DataFrame({"user": [1, 1], "item": [1, 2], name: days.dt.to_period("D")})
    frame.to_parquet(tmp_path / "a.parquet")
    for log in (frame, tmp_path / "a.parquet"):
        if name == "when":
            assert read(log).items.tolist() == [1, 2]
        with pytest.raises(UserError, match=rf"column {name} holds .*period.*: a time is .* by .dt.to_timestamp\(\)"):
            read(log, columns={"time": name})
    frame[name] = frame[name].dt.to_timestamp()
    assert read(frame, columns={"time": name}).items.tolist() == [2, 1]


@pytest.mark.parametrize("header", [True, False])
def test_items_that_are_dates_are_refused_and_numbers_that_may_be_times_said(tmp_path, header):
    path, named = tmp_path / "a.csv", "when" if header else "2"
    names, columns = (
        ("who,when,what\n", {"user": "who", "item": "when"}) if header else ("", {"user": "1", "item": "2"})
    )
    path.write_text(names + "u1,2014-04-01T03:00:00Z,7\nu1,2014-04-01T03:01:00Z,8\n")
    with pytest.raises(
        UserError, match=f"is read as the item, and holds dates: .* --item, and this one with --time {named}"
    ):
        read(path, columns=columns)
    assert len(read(path, columns=columns, ids="text").catalogue.ids) == 2
    path.write_text(names + f"u1,{START},7\nu1,{START + 60},8\n")
    said = []
    assert len(read(path, columns=columns, say=said.append).catalogue.ids) == 2
    assert any("its numbers, read as items, may be times" in line for line in said)


def test_items_may_be_dates_where_there_is_no_other_column_and_numbers_where_they_are_called_so(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user,item\n1,2014-04-01\n1,2014-04-02\n")
    assert read(path).catalogue.ids.tolist() == ["2014-04-01", "2014-04-02"]
    path.write_text(f"user,item,stars\n1,{START},5\n1,{START + 60},4\n")
    assert "may be times" not in heard(path)


def test_of_several_columns_of_times_all_are_named_the_likeliest_first(tmp_path):
    rows = [f"u{at},i{at % 3},{START + at},{START},{START + 7 * at}" for at in range(6)]
    (tmp_path / "a.csv").write_text("\n".join(["who,item,rating_id,batch_ts,clicked_at", *rows]) + "\n")
    with pytest.raises(
        UserError, match="clicked_at reads as times, as do rating_id, batch_ts: take it with --time clicked_at"
    ):
        read(tmp_path / "a.csv", columns={"user": "who"})


@pytest.mark.parametrize(
    "names",
    [
        "year,month,day",
        "date_year,date_month,date_day",
        "order_year,order_month,x",
        "yyyy,mm,dd",
        "year sold,month sold,x",
    ],
)
def test_parts_of_a_date_are_known_by_a_word_of_their_names(tmp_path, names):
    (tmp_path / "a.csv").write_text(f"user,item,{names}\n1,2,2014,4,1\n1,3,2014,0,0\n")
    with pytest.raises(UserError, match="read as parts of one"):
        read(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("user,item,pay_day,birth_day\n1,2,4,1\n1,3,5,1\n")
    assert read(tmp_path / "a.csv").times is None


COMMON = {
    **{
        word: f"{word}_year,{word}_month\n1,2,1980,4\n1,3,1980,4\n"
        for word in ("birth", "born", "release", "released", "expiry")
    },
    "another stem": "width_mm,model_year\n1,2,12,1999\n1,3,11,2001\n",
    "prices": "price_per_day,price_per_month\n1,2,99.5,900\n1,3,89,800\n",
    "words": "day_name,month_name\n1,2,Mon,May\n1,3,Tue,May\n",
}


@pytest.mark.parametrize("rest", COMMON.values(), ids=COMMON)
def test_columns_that_sound_like_parts_of_a_date_but_are_none_are_left_alone(tmp_path, rest):
    (tmp_path / "a.csv").write_text(f"user,item,{rest}")
    assert read(tmp_path / "a.csv").times is None


@pytest.mark.parametrize("items", [["12-34-56", "45.71.4711"], ["24.1.10", "10.5.20"], ["2024-05-03", "2024-05-04"]])
def test_items_may_look_like_dates_where_the_time_is_known(tmp_path, items):
    (tmp_path / "a.csv").write_text("user,item,time\n" + "".join(f"1,{item},{START}\n" for item in items))
    assert sorted(read(tmp_path / "a.csv").catalogue.ids.tolist()) == sorted(items)
    frame = pl.DataFrame({"user": [1, 1], "item": pl.Series(["7-1", "8-1"], dtype=pl.Categorical), "x": [1, 2]})
    frame.write_parquet(tmp_path / "a.parquet")
    assert len(read(tmp_path / "a.parquet").items) == 2


def heard(path, **given):
    """The notes of reading a log."""
    said = []
    read(path, say=said.append, **given)
    return "\n".join(said)


def test_text_in_a_column_that_is_called_as_times_are_is_said(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user,item,sale date\n1,1,5th moon of 2024\n1,2,6th moon of 2024\n")
    assert "sale date, as '5th moon of 2024', is not read: if it is the time of the events, write" in heard(path)
    others = {
        "watch_time": ["30", "40"],
        "wait_time": ["00:30:00", "00:40:10"],
        "cook_time": ["18 minutes", "20 minutes"],
        "time_zone": ["UTC+02:00", "UTC+03:00"],
        "add_on": ["addon-37", "addon-38"],
        "sold_on": ["site18.com", "site19.com"],
        "place": ["a 1 b 2", "c3 4"],
        "last date": ["1994", "2001"],
        "sale date": ["5th moon of 2024"] * 2,
    }
    for name, values in others.items():
        pl.DataFrame({"user": [1, 1], "item": [1, 2], name: values}).write_csv(path)
        assert "is not read: if it is the time" not in heard(path), name


@pytest.mark.parametrize(
    "codes",
    [
        ["05-RED-2024", "06-BLU-2024"],
        ["12 Oak 2012", "45 Elm 2066"],
        ["12 Monkeys 1995", "21 Grams 2003"],
        ["MARS-77-99", "MAR-41-95"],
        ["12-pack-2020", "24-pack-2020"],
    ],
)
def test_codes_and_titles_with_numbers_are_no_times(tmp_path, codes):
    pl.DataFrame({"user": [1, 1], "item": [1, 2], "code": codes}).write_csv(tmp_path / "a.csv")
    assert read(tmp_path / "a.csv").times is None


@pytest.mark.parametrize("text", ["202401051403", "20240105140311"])
def test_times_as_numbers_are_named_with_their_form(tmp_path, text):
    form = "%Y%m%d%H%M%S"[: len(text) - 2]
    (tmp_path / "a.csv").write_text(f"user,item,when\n1,1,{text}\n1,2,{text}\n")
    with pytest.raises(UserError, match=f"take it with --time when --time-format '{form}'"):
        read(tmp_path / "a.csv")
    assert not read(tmp_path / "a.csv", columns={"time": "when"}, time_format=form).relative
