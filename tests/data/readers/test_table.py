"""Which files are shards of a table: parts of one log, but not other tables beside it."""

import json

import pytest

from jaxrec import cli
from jaxrec.data.reading import read
from jaxrec.system.errors import UserError

RATINGS = "userId,movieId,rating,timestamp\n1,5,3,1300000000\n1,6,4,1300000001\n2,5,4,1300000002\n"
TAGS = "userId,movieId,tag,timestamp\n1,7,fun,1300000003\n"
REVIEWS = [
    {"user_id": user, "business_id": item, "stars": 3, "text": "good", "useful": 0} for user, item in ["ab", "ac", "bb"]
]
TIPS = [{"user_id": "a", "business_id": "d", "text": "go", "compliments": 0}]


def lines(objects):
    return "".join(f"{json.dumps(each)}\n" for each in objects)


@pytest.mark.parametrize("name", ["csv", "jsonl"])
def test_another_table_beside_the_log_is_no_shard_unless_that_is_said(tmp_path, name, capsys):
    log, other = (RATINGS, TAGS) if name == "csv" else (lines(REVIEWS), lines(TIPS))
    (tmp_path / f"a.{name}").write_text(log)
    (tmp_path / f"b.{name}").write_text(other)
    argv = ["prepare", "--input", str(tmp_path), "--output", str(tmp_path / "out")]
    assert cli.main(argv) == 2
    said = capsys.readouterr().err
    lacks = "has tag, but not rating" if name == "csv" else "has compliments, but not stars, useful"
    assert f"b.{name}: {lacks}, which" in said and f"take it out, or --input {tmp_path}/a.{name}" in said
    assert len(read(tmp_path / f"a.{name}").items) == 3
    said = []
    assert len(read(tmp_path, "table", say=said.append).items) == 4
    assert any("all are read as one log" in line for line in said)


def test_shards_may_lack_columns_or_have_more_and_objects_both(tmp_path):
    (tmp_path / "a.csv").write_text(RATINGS)
    (tmp_path / "b.csv").write_text("userId,movieId,timestamp\n1,7,1300000003\n")
    (tmp_path / "c.csv").write_text("userId,movieId,rating,timestamp,page\n1,8,3,1300000004,x\n")
    assert len(read(tmp_path).items) == 5
    for path in tmp_path.iterdir():
        path.unlink()
    (tmp_path / "a.jsonl").write_text(lines(REVIEWS))
    few = [{name: value for name, value in REVIEWS[0].items() if name != "text"} | {"cool": 1}]
    (tmp_path / "b.jsonl").write_text(lines(few))
    assert len(read(tmp_path).items) == 4


@pytest.mark.parametrize("second", ["1\t7\n", "9\t1\t7\t5\n"])
def test_shards_without_headers_have_as_many_columns(tmp_path, second):
    (tmp_path / "a.tsv").write_text("1\t5\t3\n1\t6\t4\n")
    (tmp_path / "b.tsv").write_text("1\t6\t4\n")
    columns = {"user": "1", "item": "2", "time": "none"}
    assert len(read(tmp_path, columns=columns).items) == 3
    (tmp_path / "c.tsv").write_text(second)
    with pytest.raises(
        UserError, match=rf"c\.tsv: without a header, and with {second.count(chr(9)) + 1} columns, where"
    ):
        read(tmp_path, columns=columns)


@pytest.mark.parametrize("names", [("2020-01", "2020-02"), ("day=1/a", "day=2/a")])
def test_shards_of_one_name_may_have_other_optional_columns(tmp_path, names):
    for name, column in zip(names, ("coupon", "campaign"), strict=True):
        path = tmp_path / f"{name}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"user_id,item_id,{column}\n1,5,x\n1,6,y\n")
    said = []
    assert len(read(tmp_path, say=said.append).items) == 4
    assert "shards have other columns: some campaign, some coupon; all are read as one log" in said


@pytest.mark.parametrize("own, other", [("", "Unnamed: 0"), ("__index_level_0__", "__null_dask_index__")])
def test_names_that_programs_give_make_no_other_table(tmp_path, own, other):
    for name, column in {"a.csv": own, "b.csv": other}.items():
        (tmp_path / name).write_text(f"{column},user_id,item_id\n0,1,5\n1,1,6\n")
    assert len(read(tmp_path).items) == 4


def test_a_shard_that_knows_more_of_events_than_the_first_is_refused_and_the_cure_reads_it(tmp_path):
    (tmp_path / "a.csv").write_text("user,item,time\n1,5,1300000000\n1,6,1300000001\n")
    (tmp_path / "b.csv").write_text("user,item,time,session\n2,5,1300000002,9\n")
    with pytest.raises(UserError, match=r"b\.csv: has columns for .*session.*, the files before it .* --session none"):
        read(tmp_path)
    assert len(read(tmp_path, columns={"session": "none"}).items) == 3


def test_the_file_that_is_a_log_is_named_where_the_first_is_none(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "b.csv").write_text("p,q\n1,2\n")
    (tmp_path / "c.csv").write_text(RATINGS)
    with pytest.raises(UserError, match=r"a\.csv: its columns \(x, y\) are not those of a log, unlike .*c\.csv"):
        read(tmp_path)


OTHERS = ("movieId,imdbId\n5,1\n", "movieId,title\n5,x\n", "shop,town\n1,2\n", "userId,age\n1,20\n", TAGS)


@pytest.mark.parametrize("place", range(len(OTHERS)))
def test_all_files_that_are_no_part_of_the_log_are_named_at_once(tmp_path, place):
    texts = [*OTHERS[:place], RATINGS, *OTHERS[place:], RATINGS.replace("2,5", "3,5")]
    files = [tmp_path / f"{name}.csv" for name in "abcdefg"]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    with pytest.raises(UserError) as error:
        read(tmp_path)
    told, _, same = str(error.value).partition("; the same goes for ")
    named = [told.partition(": ")[0].rpartition("/")[2], *same.split(", ")]
    first = next(text for text in texts if text != RATINGS)
    assert len(named) == len(OTHERS) and named[0] == files[texts.index(first)].name
    for name in named:
        (tmp_path / name).unlink()
    assert len(read(tmp_path).items) == 6


@pytest.mark.parametrize("header", ["user,item,time\n", "user,item\n"])
def test_the_order_of_the_events_of_several_files_is_said_where_there_are_no_times(tmp_path, header):
    for name, item in (("b", 1), ("a", 2)):
        (tmp_path / f"{name}.csv").write_text(f"{header}u,{item}{',1300000000' * ('time' in header)}\n")
    said = []
    assert read(tmp_path, say=said.append).catalogue.ids.tolist() == [1, 2]
    assert said[0] == "2 files: a.csv, b.csv"
    assert ("no times: a user's events come in the order of the files above" in " ".join(said)) == (
        "time" not in header
    )


@pytest.mark.parametrize(("name", "relative"), [("relative_time", True), ("Relative Timestamp", True), ("time", False)])
def test_times_of_a_column_that_is_called_relative_count_from_an_unknown_moment(tmp_path, name, relative):
    (tmp_path / "a.csv").write_text(f"user,item,{name}\n1,5,1300000001\n1,6,1300000000\n")
    data = read(tmp_path / "a.csv", columns={"time": name})
    assert data.relative == relative and data.items.tolist() == [2, 1]
