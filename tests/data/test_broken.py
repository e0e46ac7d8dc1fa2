"""Broken input of every kind gets a message that names the file, the line and the cure, and leaves nothing behind."""

import csv
import datetime
import io
import json
import os
import random
import shutil
from collections import Counter

import numpy as np
import polars as pl
import pytest
from broken.columns import COLUMNAR
from broken.logs import FIELDS, FILES, FORMATS, MIDNIGHT, log, put
from broken.rows import ROWS, broken_rows
from numbered import FILES as EACH, numbered

from jaxrec import cli
from jaxrec.data import prepared

LONGEST = 1_500  # most characters in a message


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """`run(path, *flags)`: (exit status, messages, what is found where the output should be)."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # hundreds of folders, none of which must survive a crash
    place = tmp_path / "outputs"
    place.mkdir()

    def prepare(path, *flags):
        capsys.readouterr()
        status = cli.main(["prepare", "--input", str(path), "--output", str(place / "new"), *flags])
        said = capsys.readouterr()
        return status, said.out if status == 0 else said.err, sorted(place.rglob("*"))

    return prepare


@pytest.fixture
def refuse(run, tmp_path, tabulate):
    """Prepares both versions of a kind: the broken one is refused and leaves no trace, and the good one is accepted."""

    def judge(name, broken):
        status, said, left = run(broken.path, *broken.both, *broken.flags)
        assert status == 2, said
        assert not left
        assert said.startswith("jaxrec prepare: ") and (broken.named or str(broken.path)) in said
        assert broken.cure in said
        assert "Traceback" not in said and len(said.replace(str(tmp_path), "")) < LONGEST
        assert not any(word in said.lower() for word in INTERNAL)
        status, complaint, _ = run(broken.good, *broken.both)
        assert status == 0, complaint
        message = said.removeprefix("jaxrec prepare: ").replace(f"{tmp_path}{os.sep}", "").partition("\n")[0]
        tabulate(name, f"refused: {message}")
        return said

    return judge


INTERNAL = ("polars", "errno", "nonetype", "dtype", "object has no")  # words that help no user


@pytest.mark.parametrize(("name", "number"), numbered(ROWS, lambda name: max(EACH, len(ROWS[name][0]))))
def test_bad_rows_are_named_or_skipped(name, number, tmp_path, refuse, run):
    broken, rows, bad, places = broken_rows(name, tmp_path, random.Random(f"{name} {number}"), number)
    said = refuse(name, broken)
    lines = said.splitlines()
    for line, place in zip(lines, places[:5], strict=False):
        assert f"{broken.named}, {place}: " in line and broken.cure in line
    assert len(lines) == min(len(bad), 5) + 1 + (len(bad) > 1)
    assert (f"({len(bad)} such rows in all)" in lines) == (len(bad) > 1)
    assert "--on-bad-row skip" in lines[-1]
    status, said, _ = run(broken.path, "--on-bad-row", "skip", *broken.both)
    assert status == 0 and f"{len(bad)} bad row" in said
    kept = [row for at, row in enumerate(rows) if at not in bad]
    assert Counter(rows_of(tmp_path / "outputs" / "new")) == Counter(map(expected, kept))


@pytest.mark.parametrize(("name", "number"), numbered(FILES))
def test_a_broken_file_is_named_with_its_cure(name, number, tmp_path, refuse):
    refuse(name, FILES[name](tmp_path, random.Random(f"{name} {number}"), number))


def test_these_are_sixty_kinds_and_more():
    assert len(ROWS) + len(FILES) >= 60 and EACH >= 10


ODD = [
    "2147483648",
    "9223372036854775808",
    "007",
    "a b",
    'say "x"',
    "1,5",
    "ü,ß",
    "日本",
    "nan",
    "-0",
    "1e5",
    "0x1",
    "null",
]


@pytest.mark.parametrize("name", ["log.csv", "log.tsv", "log.jsonl", "log.parquet", "log.arrow", "log.csv.gz"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_is_odd_but_right_is_kept_as_it_is(name, mark, end, tmp_path, run):
    """Ids of any kind, users with one row, repeated rows, byte order marks, and line ends of other systems."""
    rows = [[user, item, "3.5", str(MIDNIGHT + at)] for at, (user, item) in enumerate(zip(ODD, ODD[::-1], strict=True))]
    rows += [rows[0], rows[0], ["2147483648", "007", "1.0", str(MIDNIGHT - 1)]]
    path = put(tmp_path / name, "")
    if name in COLUMNAR:
        COLUMNAR[name](pl.DataFrame(rows, FIELDS, orient="row").cast({"rating": float, "timestamp": int}), path)
    else:
        text = io.StringIO()
        if "json" in name:
            text.writelines(json.dumps(dict(zip(FIELDS, row, strict=True))) + end for row in rows)
        else:
            csv.writer(text, delimiter="\t" if "tsv" in name else ",", lineterminator=end).writerows([FIELDS, *rows])
        put(path, mark + text.getvalue())
    status, said, _ = run(path, "--keep-na-ids", "--weight", "rating")
    assert status == 0, said
    assert Counter(rows_of(tmp_path / "outputs" / "new")) == Counter(map(expected, rows))


def test_integers_stay_integers_up_to_63_bits(tmp_path, run):
    ids = [0, -7, 2**31, 2**63 - 1, -(2**63)]
    for number, (last, kind) in enumerate([(ids[-1], np.int64), (2**63, np.dtypes.StringDType())]):
        wanted = [*ids[:-1], last]
        path = put(tmp_path / f"{number}.csv", "user,item\n" + "".join(f"{each},{each}\n" for each in wanted))
        status, said, _ = run(path)
        assert status == 0, said
        data = prepared.load(tmp_path / "outputs" / "new")
        assert data.catalogue.ids.dtype == data.users.dtype == kind
        assert {*map(str, data.users.tolist())} == {*map(str, wanted)}


SCRAPS = [b'"', b"\n", b"\r", b"\0", b",", b"\t", b"{", b"[", b" ", b"\xff", b"1e999", b"'", b"::", b"-", b"9" * 30]


@pytest.mark.parametrize("made", FORMATS, ids=lambda made: made.name)
def test_damage_of_any_sort_is_never_a_traceback(made, tmp_path, run):
    """With bytes inserted, removed or flipped, there is a message and no output, or data, as the rest may be valid."""
    for number in range(12):
        chance = random.Random(f"{made.name} {number}")
        path, _ = made.write(tmp_path / str(number), log(chance))
        data = bytearray(path.read_bytes())
        for _ in range(chance.choice([1, 2, 5, 30])):
            at = chance.randrange(len(data))
            data[at : at + chance.choice([0, 0, 1, 5, 100])] = chance.choice([*SCRAPS, bytes([data[at] ^ 4])])
        path.write_bytes(data)
        status, said, left = run(path)
        if status == 0:
            shutil.rmtree(tmp_path / "outputs" / "new")
        else:
            assert status == 2 and str(path) in said and len(said) < LONGEST and not left


def rows_of(folder):
    """The rows (user, item, weight, time) of a prepared folder."""
    data = prepared.load(folder)
    users = np.repeat(np.arange(len(data.users)), np.diff(data.offsets))
    ids = [data.users.tolist()[user] for user in users], [data.catalogue.ids.tolist()[item - 1] for item in data.items]
    return zip(*ids, data.weights.tolist(), data.times.tolist(), strict=True)


def expected(row):
    user, item, weight, time = row
    dated = datetime.datetime.fromisoformat(time).timestamp() if "T" in time else int(time)
    return user, item, float(weight), int(dated) * 1_000_000
