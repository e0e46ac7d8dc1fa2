"""Laws of data.unread.clocks: times of day beside days are not left out, nor taken for whole times."""

import datetime

import polars as pl
import pytest
from ways import START

from jaxrec.data.reading import read
from jaxrec.system.errors import UserError

CLOCK = {"csv": pl.DataFrame.write_csv, "jsonl": pl.DataFrame.write_ndjson, "parquet": pl.DataFrame.write_parquet}


def heard(path, **given):
    """The notes of reading a log."""
    said = []
    read(path, say=said.append, **given)
    return "\n".join(said)


DAYS = ["2024-03-01", "2024-03-02"]
CLOCKS = {
    "text": (DAYS, ["20:30", "09:30"]),
    "half days": (DAYS, ["8:30:00 PM", "9:30:00 AM"]),
    "numbers": ([20240301, 20240302], [203000, 93000]),
    "fractions of a day": (DAYS, [0.854, 0.396]),
    "unix": ([START, START + 86_400], ["20.30.00", "09.30.00"]),
    "times": (DAYS, [datetime.time(20, 30), datetime.time(9, 30)]),
    "spans": (DAYS, [datetime.timedelta(hours=20), datetime.timedelta(hours=9)]),
    "workbooks": (DAYS, [datetime.datetime(1899, 12, 31, 20, 30), datetime.datetime(1899, 12, 31, 9, 30)]),
    "strptime": (DAYS, ["1900-01-01 20:30:00", "1900-01-01 09:30:00"]),
    "two ways": (["01/03/2024", "02/03/2024"], ["20:30", "09:30"]),
}


@pytest.mark.parametrize("kind", CLOCKS)
def test_times_of_day_are_not_taken_for_times_beside_their_dates(tmp_path, kind):
    days, clocks = CLOCKS[kind]
    frame = pl.DataFrame({"user": [1, 1], "item": [1, 2], "date": days, "time": clocks})
    frame.write_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"time holds times of day .*, and date the dates: .* --time date") as error:
        read(tmp_path / "a.parquet")
    assert ("take --time time" in str(error.value)) == (kind in ("numbers", "fractions of a day"))
    form = "%d/%m/%Y" if "--time-format '%d/%m/%Y' or '%m/%d/%Y'" in str(error.value) else None
    assert (form is None) == (kind != "two ways")
    assert read(tmp_path / "a.parquet", columns={"time": "date"}, time_format=form).items.tolist() == [1, 2]


@pytest.mark.parametrize("kind", [kind for kind in CLOCKS if kind != "unix"])
def test_dates_are_not_taken_for_times_beside_their_times_of_day(tmp_path, kind):
    days, clocks = CLOCKS[kind]
    frame = pl.DataFrame({"user": [1, 1], "item": [1, 2], "order_date": days, "order_time": clocks})
    frame.write_parquet(tmp_path / "a.parquet")
    form = "%d/%m/%Y" if kind == "two ways" else None
    with pytest.raises(UserError, match=r"order_time holds times of day .*, and order_date the dates: join"):
        read(tmp_path / "a.parquet", time_format=form)
    assert read(tmp_path / "a.parquet", columns={"time": "order_date"}, time_format=form).items.tolist() == [1, 2]
    whole = frame.with_columns(order_date=pl.Series(["2024-03-01 20:30", "2024-03-01 09:30"]))
    whole.write_parquet(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet").items.tolist() == [2, 1]


def test_a_time_beside_its_parts_or_its_day_is_read_and_times_of_day_beside_parts_are_not(tmp_path):
    for time in (START, "2024-03-01 20:30"):
        row = {"user": 1, "item": 1, "date": 20240301, "year": 2024, "month": 3, "time": time}
        frame = pl.DataFrame([row, row | {"item": 2}])
        frame.write_csv(tmp_path / "a.csv")
        assert not read(tmp_path / "a.csv").relative
    frame.drop("date").with_columns(time=2030).write_csv(tmp_path / "a.csv")
    with pytest.raises(UserError, match=r"time holds times of day .*, and year, month the dates: join them"):
        read(tmp_path / "a.csv")
    assert read(tmp_path / "a.csv", columns={"time": "time"}).relative


@pytest.mark.parametrize("days", [[20240301, 20240301], ["2024-03-01", "2024-03-01"], [1709251200, 1709251200]])
@pytest.mark.parametrize("whole", [[1709325000123, 1709285400456], ["2024-03-01 20:30", "2024-03-01 09:30"]])
def test_days_are_not_taken_for_the_time_beside_the_times_themselves(tmp_path, days, whole):
    pl.DataFrame({"user": [1, 1], "item": [1, 2], "date": days, "time_ms": whole}).write_csv(tmp_path / "a.csv")
    with pytest.raises(UserError, match=r"date holds days alone, and time_ms times of day too: take --time time_ms"):
        read(tmp_path / "a.csv")
    ordered = {name: read(tmp_path / "a.csv", columns={"time": name}).items.tolist() for name in ("date", "time_ms")}
    assert ordered == {"date": [1, 2], "time_ms": [2, 1]}


HOURS = {
    "hour": [15, 9],
    "hr": ["15", "9"],
    "hour_of_day": [15, 9],
    "hour, minute": [[15, 9], [30, 45]],
    "time_of_day": ["15:00", "09:00"],
    "clock": [datetime.time(15), datetime.time(9)],
}


@pytest.mark.parametrize("kind", CLOCK)
@pytest.mark.parametrize("names", HOURS)
def test_hours_beside_days_are_not_left_out_unless_days_are_enough(tmp_path, names, kind):
    columns = [HOURS[names]] if "," not in names else HOURS[names]
    hours = dict(zip(names.split(", "), columns, strict=True))
    frame, path = pl.DataFrame({"user": [1, 1], "item": [1, 2], "date": ["2020-01-01"] * 2, **hours}), tmp_path / "a"
    CLOCK[kind](frame, path)
    with pytest.raises(UserError, match=f"{names} holds times of day .*, and date the dates: .* take --time date if"):
        read(path)
    assert read(path, columns={"time": "date"}).items.tolist() == [1, 2]
    CLOCK[kind](frame.head(1).vstack(frame.head(1).with_columns(item=pl.lit(2, pl.Int64))), path)
    assert not read(path).relative, "all hours of days alone are 0"
    CLOCK[kind](frame.with_columns(date=pl.Series(["2020-01-01 15:30", "2020-01-01 09:45"])), path)
    assert read(path).items.tolist() == [2, 1], "hours beside the times themselves tell nothing"


def test_columns_that_may_be_times_of_day_beside_days_are_said(tmp_path):
    frame = pl.DataFrame(
        {"user": [1, 1], "item": [1, 2], "date": "2020-01-01", "heure": ["15:00", "09:00"], "n": [4, 5]}
    )
    frame.write_csv(tmp_path / "a.csv")
    said = []
    assert read(tmp_path / "a.csv", say=said.append).items.tolist() == [1, 2]
    (note,) = [line for line in said if "heure" in line and line.startswith("date holds days alone")]
    assert "join the two into one column" in note


def test_a_column_that_may_be_the_order_within_a_day_is_named(tmp_path):
    rows = [f"s1,i{at},{900 - at},2016-05-09" for at in range(6)]
    (tmp_path / "a.csv").write_text("\n".join(["sessionId,itemId,timeframe,eventdate", *rows]) + "\n")
    said = []
    read(tmp_path / "a.csv", say=said.append)
    assert any("if timeframe, which is not read, is the order within a day" in line for line in said)
    (tmp_path / "b.csv").write_text("sessionId,itemId,timeframe,eventdate\ns,1,5,2016-05-09\ns,2,5,2016-05-10\n")
    assert "the order within a day" not in heard(tmp_path / "b.csv"), "it is the same in all rows"
    data = read(tmp_path / "a.csv", columns={"time": "timeframe"})
    assert data.catalogue.ids[data.items - 1].tolist() == [f"i{at}" for at in reversed(range(6))]


def test_times_of_day_beside_a_day_whose_name_is_not_known_are_not_left_out(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user,item,Loan Date,Loan Time\n1,2,2024-01-05,15:00\n1,1,2024-01-05,09:00\n")
    with pytest.raises(
        UserError, match=r"Loan Time holds times of day .*, and Loan Date the dates: join them into one"
    ):
        read(path)
    assert "Loan Date holds days alone, and Loan Time, which is not read, times of day: if" in heard(
        path, columns={"time": "Loan Date"}
    )


def test_one_time_of_day_for_all_days_tells_no_order(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user,item,Loan Date,Loan Time\n1,2,2024-01-05,00:00\n1,1,2024-01-06,00:00\n")
    with pytest.raises(UserError, match="but Loan Date reads as times: take it with --time 'Loan Date', or"):
        read(path)
    assert "times of day" not in heard(path, columns={"time": "Loan Date"})


def test_days_in_a_form_that_is_named_are_days_too(tmp_path):
    path, given = tmp_path / "a.csv", {"time_format": "%d/%m/%Y"}
    path.write_text("user,item,date,start\n1,2,05/01/2024,15:00\n1,1,05/01/2024,09:00\n")
    assert "date holds days alone, and start, which is not read, times of day" in heard(path, **given)
    assert "times of day" in heard(path, columns={"time": "date"}, **given)
    path.write_text("user,item,date,time_ms\n1,2,05/01/2024,1704466800000\n1,1,05/01/2024,1704445200001\n")
    with pytest.raises(UserError, match=r"date holds days alone, and time_ms times of day too: take --time time_ms"):
        read(path, **given)


def test_days_beside_other_days_are_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user,item,date,timestamp\n1,2,2024-01-05,2024-01-07\n1,1,2024-01-04,2024-01-06\n")
    for name in ("date", "timestamp"):
        assert read(path, columns={"time": name}).items.tolist() == [1, 2]
    assert "holds days alone" not in heard(path)


def test_a_time_that_is_the_same_in_all_rows_is_said_beside_one_that_differs(tmp_path):
    path, at = tmp_path / "a.csv", "2024-03-01 02:00:00"
    rows = "".join(f"1,{item},{at},2024-01-0{9 - item} 10:00:00\n" for item in range(1, 4))
    path.write_text(f"user,item,created_at,order_date\n{rows}")
    told = f"created_at is '{at}' in all of the first 3 rows, and order_date differs: --time order_date takes it"
    assert told in heard(path)
    assert told not in heard(path, columns={"time": "created_at"})
    path.write_text(f"user,item,created_at,order_date\n{''.join(f'1,{item},{at},{at}{chr(10)}' for item in range(3))}")
    assert "takes it instead" not in heard(path), "the other is the same in all rows too"


@pytest.mark.parametrize("name", ["date", "Loan Date"])
@pytest.mark.parametrize("given", [True, False])
def test_columns_of_any_type_may_lie_beside_days(name, given):
    at = [datetime.date(2024, 1, day) for day in (1, 1, 2)]
    others = {
        "bytes": pl.Series([b"a", b"b", b"c"]),
        "objects": pl.Series([object(), object(), object()], dtype=pl.Object),
        "decimals": pl.Series([1, 2, 3], dtype=pl.Decimal(5, 1)),
        "nothing": pl.Series([None] * 3),
        "words": pl.Series(["a", "b", "c"], dtype=pl.Categorical),
        "flags": pl.Series([True, False, True]),
    }
    frame = pl.DataFrame({"user": [1, 1, 2], "item": [5, 6, 5], name: at} | others)
    if given or name == "date":
        assert len(read(frame, columns={"time": name} if given else None).items) == 3
    else:
        with pytest.raises(UserError, match="but Loan Date reads as times: take it with --time 'Loan Date', or"):
            read(frame)
    clock = frame.with_columns(clock=pl.Series(["10:00", "11:00", "12:00"], dtype=pl.Categorical))
    assert not given or "and clock, which is not read, times of day" in heard(clock, columns={"time": name})


@pytest.mark.parametrize(("clock", "day"), [("duration", "release_date"), ("opens", "founded"), ("length", "birthday")])
def test_durations_beside_other_days_are_no_times_of_day(tmp_path, clock, day):
    path = tmp_path / "a.csv"
    path.write_text(f"user,item,{clock},{day}\n1,1,3:45,2019-03-01\n1,2,4:05,2018-01-01\n2,1,3:45,2019-03-01\n")
    with pytest.raises(
        UserError, match=f"but {day} reads as times: take it with --time {day}, or the order of the file"
    ):
        read(path)
