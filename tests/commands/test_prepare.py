"""The command prepare from end to end: what its options do, and that training accepts what it writes."""

import csv
import dataclasses
import datetime
import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from visits import APRIL, COLUMNS, FIELDS, NUMBERS, ROWS

from jaxrec import cli
from jaxrec.data import prepared, sources
from jaxrec.data.files import download
from jaxrec.data.interactions import fingerprint
from jaxrec.data.storage import maps


@pytest.fixture
def log(tmp_path):
    return write(tmp_path / "log.csv", ROWS)


def write(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([FIELDS, *rows])
    return path


@pytest.fixture
def run(log, tmp_path, capsys):
    """`run(*flags)`: the folder, its meta.json, the summary."""

    def prepare(*flags, columns=COLUMNS, status=0):
        argv = ["prepare", "--input", str(log), "--output", str(tmp_path / "out"), *columns, *flags]
        assert cli.main(argv) == status
        said = capsys.readouterr()
        if status:
            return said.err
        return prepared.load(tmp_path / "out"), json.loads((tmp_path / "out" / "meta.json").read_text()), said.out

    return prepare


def rows_of(data):
    users = np.repeat(data.users, np.diff(data.offsets)).tolist()
    items = data.catalogue.ids[data.items - 1].tolist()
    sessions = np.repeat(data.sessions.ids, np.diff(data.sessions.offsets)).tolist()
    times = (data.times // 1_000_000).tolist()
    return list(zip(users, items, data.weights.astype(int).tolist(), times, sessions, strict=True))


def by_user(rows):
    lengths = Counter(user for user, *_ in rows)
    return [(row, lengths[row[0]]) for row in rows]


def k_core(rows, least):
    while True:
        users, items = (Counter(row[at] for row in rows) for at in (0, 1))
        kept = [row for row in rows if users[row[0]] >= least and items[row[1]] >= least]
        if len(kept) == len(rows):
            return rows
        rows = kept


def moment(text):
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp()


#: flags -> the rows that are left, worked out by hand
FILTERS = {
    ("--since", "2014-04-08"): lambda rows: [row for row in rows if row[3] >= moment("2014-04-08")],
    ("--until", "2014-04-15T12:00:00"): lambda rows: [row for row in rows if row[3] < moment("2014-04-15T12:00:00")],
    ("--min-rating", "3"): lambda rows: [row for row in rows if row[2] >= 3],
    ("--max-length", "12"): lambda rows: [row for row, length in by_user(rows) if length <= 12],
    ("--min-length", "6"): lambda rows: [row for row, length in by_user(rows) if length >= 6],
    ("--k-core", "9"): lambda rows: k_core(rows, 9),
    ("--collapse-repeats",): lambda rows: [
        row
        for before, row in zip([None, *rows], rows, strict=False)
        if before is None or (row[0], row[1], row[4]) != (before[0], before[1], before[4])
    ],
}


@pytest.mark.parametrize("flags", FILTERS, ids=" ".join)
def test_a_filter_leaves_what_it_says(flags, run):
    data, meta, said = run(*flags)
    wanted = FILTERS[flags](ROWS)
    assert 1 < len(wanted) < len(ROWS)
    assert sorted(rows_of(data)) == sorted(wanted)
    name = flags[0].removeprefix("--")
    key = name.replace("-", "_")
    assert str(meta["options"][key]) in (*flags, f"{flags[-1]}.0", "True") and len(meta["options"]) == 1
    users, items = (len({row[at] for row in wanted}) for at in (0, 1))
    left = {"users": users, "items": items, "rows": len(wanted)}
    assert meta["steps"][-1] == {"name": " ".join(flags).removeprefix("--"), **left}
    assert meta["steps"][0] == {"name": "read", **NUMBERS, "rows": len(ROWS)}
    line = next(line for line in said.splitlines() if name in line and "│" in line)
    assert [each.strip() for each in line.split("│")[2:6]] == [*map(str, left.values()), str(len(ROWS) - len(wanted))]
    assert (meta["users"], meta["items"], meta["interactions"]) == tuple(left.values())
    assert meta["facts"]["users"] == users


def test_filters_are_applied_in_their_order(run):
    data, meta, _ = run("--k-core", "3", "--min-rating", "2", "--since", "2014-04-05")
    wanted = k_core([row for row in ROWS if row[2] >= 2 and row[3] >= moment("2014-04-05")], 3)
    assert sorted(rows_of(data)) == sorted(wanted)
    assert [step["name"] for step in meta["steps"]] == ["read", "since 2014-04-05", "min-rating 2", "k-core 3"]


def test_memory_changes_nothing(run, tmp_path, monkeypatch):
    """Even with small blocks."""
    flags = ("--k-core", "3", "--min-rating", "2", "--drop-duplicates")
    _, meta, said = run(*flags)
    monkeypatch.setattr(maps, "ROWS", 20)
    data, again, repeated = run(*flags, "--memory", "1GiB")
    untimed = lambda said: [line.partition(" rows written in ")[0] for line in said.splitlines()]
    assert (again, untimed(repeated)) == (meta, untimed(said))
    prepared.verify(data)
    assert "--memory lots: no amount of memory" in run("--memory", "lots", status=2)


def test_a_sample_is_of_users_and_the_same_again(run):
    data, meta, said = run("--sample", "0.5")
    users = set(data.users.tolist())
    assert 0 < len(users) < NUMBERS["users"] and "sample 0.5" in said and meta["options"] == {"sample": 0.5}
    assert sorted(rows_of(data)) == sorted(row for row in ROWS if row[0] in users)
    assert set(run("--sample", "0.5")[0].users.tolist()) == users
    assert users < set(run("--sample", "0.9")[0].users.tolist())


def test_a_gap_parts_sessions(run):
    data, meta, said = run("--session-gap", "30", columns=COLUMNS[:-2])
    begins = sum(
        before is None or row[0] != before[0] or row[3] - before[3] > 1_800
        for before, row in zip([None, *ROWS], ROWS, strict=False)
    )
    assert len(data.sessions.ids) == meta["facts"]["sessions"] == begins
    assert f"sessions         {begins}\n" in said and meta["options"] == {"session_gap": 30}
    assert "split=sessions" in said


def test_columns_are_named(run):
    data, meta, said = run()
    assert sorted(rows_of(data)) == sorted(ROWS)
    chosen = "columns: user = visitor, item = thing, time = when, weight = grade, session = visit"
    assert chosen in said and chosen in meta["notes"]
    assert meta["columns"] == dict(zip(("user", "item", "weight", "time", "session"), FIELDS, strict=True))
    assert f"sessions         {len({row[4] for row in ROWS})}\n" in said
    fewer, meta, said = run("--time", "none", columns=COLUMNS[:4])
    assert fewer.times is None and fewer.weights is None and fewer.sessions is None
    assert "none: the order of the file" in said and meta["facts"]["times"] is None


def test_numbers_of_columns_mean_that_there_is_no_header(run, log):
    data, _, _ = run()
    numbered = [str(FIELDS.index(word) + 1) if word in FIELDS else word for word in COLUMNS]
    assert f"{log}, line 1: 'visitor,thing,grade,when,visit'" in run(columns=numbered, status=2)
    log.write_text(log.read_text().partition("\n")[2])
    again, meta, said = run(columns=numbered)
    assert fingerprint(again) == fingerprint(data) and meta["columns"]["user"] == "1"
    assert f"no header, the first row is '{','.join(map(str, ROWS[0]))}'" in said


def test_a_row_of_numbers_is_no_header_of_them(run, log):
    """The 1 of --user 1 is a column number, not the 1 in the first row."""
    log.write_text("1,2\n1,3\n2,1\n")
    data, _, _ = run(columns=("--user", "1", "--item", "2"))
    assert data.users.tolist() == [1, 2] and data.catalogue.ids.tolist() == [1, 2, 3]


def test_a_named_format_is_read_as_that(run, log):
    log.write_text("1 5 6\n2 5 7\n3 6 5\n")
    assert len(run("--format", "sequences", columns=())[0].users) == 3
    assert "columns" in run("--format", "table", columns=(), status=2)


def test_bad_rows_are_an_error_or_skipped(run, log):
    write(log, [*ROWS, ("u0", "i1", "many", APRIL, "0-0"), ("u0", "i1", "", APRIL, "0-0")])
    error = run(status=2)
    assert (
        f"{log}, line {len(ROWS) + 2}: " in error and "(2 such rows in all)" in error and "--on-bad-row skip" in error
    )
    data, meta, said = run("--on-bad-row", "skip")
    assert sorted(rows_of(data)) == sorted(ROWS)
    assert "2 bad rows skipped, the first:" in said and "2 bad rows skipped, the first:" in meta["notes"]


def test_duplicates_are_said_and_kept(run, log):
    write(log, [*ROWS, ROWS[3], ROWS[3]])
    data, meta, said = run()
    assert len(data.items) == len(ROWS) + 2 and meta["facts"]["duplicates"] == 2
    assert "2 of them at the same time: duplicate rows? They were kept" in said


def test_plots_are_drawn_where_they_are_asked_for_and_go_with_the_folder(run, tmp_path):
    for columns in (COLUMNS, [*COLUMNS[:4], "--time", "none"]):
        run("--plots", columns=columns)
        assert (tmp_path / "out" / "plots.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    data, _, _ = run()
    assert not (tmp_path / "out" / "plots.png").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.csv", "out"]
    assert sorted(rows_of(data)) == sorted(ROWS)


def test_a_prepared_folder_is_prepared_again_onto_itself(run, tmp_path):
    run()
    argv = ["prepare", "--input", str(tmp_path / "out"), "--output", str(tmp_path / "out"), "--min-rating", "3"]
    assert cli.main(argv) == 0
    assert sorted(rows_of(prepared.load(tmp_path / "out"))) == sorted(FILTERS["--min-rating", "3"](ROWS))


def test_an_output_that_will_not_do_is_refused_before_anything_is_read(run, tmp_path):
    (tmp_path / "out").write_text("mine")
    assert "name another --output" in run(columns=("--user", "no such column"), status=2)
    assert (tmp_path / "out").read_text() == "mine"


def test_ctrl_c_ends_with_its_status_and_leaves_nothing(run, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepared, "fingerprint", interrupted)  # all but meta.json is written by then
    assert run(status=130) == "jaxrec prepare: interrupted\n"
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_a_public_name_without_a_network_says_which_file_to_put_where(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAXREC_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "WAIT", 0.0)
    url = "http://127.0.0.1:9/ml-1m.zip"  # nobody answers there
    monkeypatch.setitem(sources.PUBLIC, "ml-1m", dataclasses.replace(sources.PUBLIC["ml-1m"], url=url))
    assert cli.main(["prepare", "--input", "ml-1m", "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    for part in ("'ml-1m'", url, str(tmp_path / "cache" / "ml-1m.zip"), str(tmp_path / "data"), "ml-1m.zip is also"):
        assert part in error
    assert not (tmp_path / "out").exists() and "Traceback" not in error


def test_jax_is_not_imported(log, tmp_path):
    code = (
        "import sys; from jaxrec import cli; assert cli.main(sys.argv[1:]) == 0; "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    argv = ["prepare", "--input", str(log), "--output", str(tmp_path / "out"), *COLUMNS]
    ran = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.splitlines()[-1].split())
    assert "polars" in loaded and not loaded & {"jax", "jaxlib", "flax", "optax", "orbax", "matplotlib"}


def test_a_condition_is_the_first_step(run):
    data, meta, said = run("--only", "grade=4,5", "--only", "thing!=i3", "--min-length", "2")
    kept = [row for row in ROWS if row[2] >= 4]
    left = [row for row in kept if row[1] != "i3"]
    assert sorted(rows_of(data)) == sorted(row for row, length in by_user(left) if length >= 2)
    assert [step["name"] for step in meta["steps"]] == ["read", "only grade=4,5", "only thing!=i3", "min-length 2"]
    assert [step["rows"] for step in meta["steps"]][:3] == [len(ROWS), len(kept), len(left)]
    assert meta["steps"][0]["users"] is None and meta["reading"] == {"only": ["grade=4,5", "thing!=i3"]}
    line = next(line for line in said.splitlines() if "only grade=4,5" in line)
    assert [each.strip() for each in line.split("│")[2:6]] == ["", "", str(len(kept)), str(len(ROWS) - len(kept))]


def test_duplicates_are_dropped_where_that_is_asked(run, log):
    write(log, [*ROWS, ROWS[3], ROWS[3], (*ROWS[3][:2], 9, *ROWS[3][3:])])
    data, meta, said = run("--drop-duplicates")
    assert len(data.items) == len({*ROWS}) + 1 and meta["options"] == {"drop_duplicates": True}
    assert "drop-duplicates" in said and sorted({*rows_of(data)}) == sorted(rows_of(data))


def test_a_user_with_too_many_rows_is_named(run, log):
    rows = [(f"u{user}", f"i{at}", 1, APRIL + at, user) for user in range(1_001) for at in range(2)]
    write(log, [*rows, *(("robot", f"i{at % 7}", 1, APRIL + at, "s") for at in range(1_000))])
    _, meta, said = run()
    warned = "warning: 'robot' alone has 33.3% of the rows, among 1,002 users"
    assert said.count(warned) == 1 and any(note.startswith(warned) for note in meta["notes"])
    assert "warning" not in run("--max-length", "10")[2].partition("read │")[2]


def test_ids_and_dates_are_read_as_the_flags_say(run, log):
    log.write_text("user,item,date\n1,7.0,02/01/2020\nNA,8.0,01/02/2020\n")
    names = []
    flags = ("--ids", "integer", "--keep-na-ids", "--time-format", "%d/%m/%Y")
    error = run(*flags, columns=names, status=2)
    assert "line 3: 'NA,8.0,01/02/2020': user is not exactly an integer: --ids text" in error
    data, meta, _ = run("--ids", "text", *flags[2:], columns=names)
    assert data.users.tolist() == ["1", "NA"] and data.catalogue.ids.tolist() == ["7.0", "8.0"]
    assert meta["reading"] == {"ids": "text", "keep_na_ids": True, "time_format": "%d/%m/%Y"}
    days = np.asarray(data.times, "datetime64[us]").astype("datetime64[D]")
    assert days.astype(str).tolist() == ["2020-01-02", "2020-02-01"]
    assert run("--ids", "integer", *flags[3:], "--on-bad-row", "skip", columns=names, status=2).endswith("or more\n")


@pytest.mark.parametrize(
    ("place", "written"), [("jaxrec.data.sources.load_steps", False), ("jaxrec.api.logs.Log.show", True)]
)
def test_where_its_output_is_closed_it_says_whether_the_folder_is_written(place, written, run, tmp_path, monkeypatch):
    def closed(*_):
        raise BrokenPipeError

    monkeypatch.setattr(place, closed)
    said = run(status=2)
    assert "its output was closed before it had ended" in said and "training" not in said
    assert (f"{tmp_path / 'out'} is written all the same" in said) == written
    assert (f"{tmp_path / 'out'} is not written" in said) != written
    assert (tmp_path / "out").exists() == written
