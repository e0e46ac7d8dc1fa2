"""Laws of data.discover: a log is the same data in one file and with any folders, file names and compressions."""

import bz2
import gzip
import lzma
import os
import tempfile
import zipfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, strategies as st
from trees import HEADER, KINDS, LOG, ONE, TWO, parquet, rows, tree
from ways import data_of, delimited, logs, put

from jaxrec.data.files import walking
from jaxrec.data.interactions import fingerprint
from jaxrec.data.reading import read
from jaxrec.system.errors import UserError

zstd = pytest.importorskip("backports.zstd")
PACK = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstd.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
}


folders = st.sampled_from(["", "2020-01-01", "2020-01-02", "a/b", "a/c/d", "day=1", "day=1/hour=2"])
names = st.sampled_from(["events", "part-00000", "part-00000-x-c000.csv", "a.txt", "b.data", "log.log", "x.tsv"])


@given(logs(), st.lists(st.tuples(folders, names), min_size=1, max_size=4, unique=True), st.data())
def test_a_log_in_any_folders_and_names_is_the_same_data(whole, places, data):
    names = {name for _, name in places}
    known = {name for name in names if name.endswith((".csv", ".tsv"))}
    kept = [place for place in places if not known or place[1] in known]  # only known names, if there are any
    if len(known) > 1 or len({bool(folder) for folder, _ in kept}) > 1:
        return
    pack = PACK[data.draw(st.sampled_from(sorted(PACK)))]
    share = -(-len(whole) // len(kept))
    with tempfile.TemporaryDirectory() as folder:
        for number, place in enumerate(sorted(kept)):
            part = whole[number * share : (number + 1) * share]
            if part:
                path = Path(folder, "log", *place)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(pack(delimited(part).encode()))
        found = read(Path(folder, "log"), columns={"weight": "rating"})
        assert fingerprint(found) == fingerprint(data_of(whole))


@pytest.mark.parametrize("pack", PACK)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_in_every_compression_with_any_name(tmp_path, kind, pack):
    made = PACK[pack](KINDS[kind](HEADER + ONE + TWO))
    for name in (f"log.{kind}{pack}", "part-00000", f"LOG.{kind.upper()}{pack.upper()}"):
        tree(tmp_path / name, {name: made})
        assert rows(tmp_path / name / name) == rows(tmp_path / name) == LOG
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"in/log.{kind}{pack}", made)
    assert rows(tmp_path / "a.zip") == LOG


@pytest.mark.parametrize("pack", PACK)
def test_side_files_may_be_compressed_too(tmp_path, pack):
    files = {
        "sequences.txt": b"1 5 6\n2 5\n",
        "items.csv": b"item_id,title\n5,Five\n",
        "stats.json": b'{"train_sessions": 1}',
    }
    data = read(tree(tmp_path, {name + pack: PACK[pack](content) for name, content in files.items()}))
    assert data.train_sessions == 1 and data.catalogue.titles == ["Five", ""]


DAILY = {"d/2020-01-01/events.csv": ONE, "d/2020-01-02/events.csv": TWO}


@pytest.mark.parametrize("path", ["d", "d/*/events.csv", "d/*/*", "d/*", "d/2020-01-0[12]/*.csv", "*"])
@pytest.mark.parametrize("format", [None, "table"])
def test_daily_folders_are_shards_by_folder_and_by_glob(tmp_path, path, format):
    hidden = {"d/2020-01-01/_SUCCESS": b"", "d/_temporary/0.json": b"{}", "d/.a.crc": b"\0", "d/~$a.csv": b"\0"}
    tree(tmp_path, DAILY | hidden)
    said = []
    assert rows(tmp_path / path, format, say=said.append) == LOG
    assert any("2 files: " in line and "2020-01-02/events.csv" in line for line in said)


REFUSED = {
    "two kinds": (
        {"a/x.csv": ONE, "b/x.parquet": parquet(HEADER + TWO)},
        "",
        r"files of \.csv, \.parquet lie together",
    ),
    "two kinds by content": ({"x": parquet(HEADER + ONE), "y": HEADER.encode()}, "", "lie together"),
    "two kinds by a glob": ({"x.csv": ONE, "y.tsv": TWO}, "*", "lie together"),
    "plain and compressed": ({"a/x.csv": ONE, "a/x.csv.gz": gzip.compress(b"x")}, "", "are the same file twice"),
    "several sequences": (
        {"a/sequences.txt": b"1 2 3\n", "b/sequences.txt": b"1 2 3\n"},
        "",
        "did you mean .*/a, .*/b?",
    ),
    "by a glob": ({"a/sequences.txt": b"1 2 3\n", "b/sequences.txt": b"1 2 3\n"}, "*/sequences.txt", "2 logs"),
    "stars": ({"a/x.csv": ONE}, "**/x.csv", r"\*\* is not supported: name the folder"),
    "one key twice": ({"day=1/day=2/x.csv": ONE}, "", "two of its folders say day"),
    "shards that differ": ({"a/x.csv": ONE, "b/x.csv": b"who,what\n1,2\n"}, "", "shards have one header"),
    "a damaged shard": ({"a/x": gzip.compress(b"x" * 999)[:-9], "b/x": ONE}, "", "cut or damaged"),
    "not what it is called": ({"x.csv.xz": b"user,item\n"}, "", r"not xz, though the name ends in \.xz: rename it"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_be_one_log_is_refused_with_a_cure(tmp_path, name):
    files, path, message = REFUSED[name]
    tree(tmp_path, files)
    with pytest.raises(UserError, match=message):
        read(tmp_path / path)


def test_what_is_not_read_is_said(tmp_path):
    tree(tmp_path, {"a.csv": ONE, "b.csv": TWO, "c.txt": b"1,2\n", "README.txt": b"a, b", "x/y.csv": b"", "e.csv": b""})
    said = []
    assert rows(tmp_path, say=said.append) == LOG
    assert "not read: c.txt, e.csv" in said and "not read: x/" in said


def test_format_table_reads_every_table_of_a_folder_and_of_a_glob(tmp_path):
    side = {"items.csv": b"item_id,title\n5,Five\n", "stats.json": b"{}"}
    tree(tmp_path, {"a.csv": ONE, "b.parquet": parquet(HEADER + TWO)} | side)
    for path in (tmp_path, tmp_path / "*"):
        assert rows(path, "table") == LOG
    assert read(tmp_path, "table").catalogue.titles == ["Five", "", ""]


def test_the_items_of_daily_folders_lie_above_them(tmp_path):
    tree(tmp_path, DAILY | {"d/items.csv": b"item_id,title\n5,Five\n"})
    assert read(tmp_path / "d").catalogue.titles == ["Five", "", ""]


def test_names_of_patterns_are_taken_as_they_are(tmp_path):
    tree(tmp_path, {"d[1]/a[b].csv": ONE, "d[1]/b.csv": TWO, "d1/ab.csv": b"user,item\n9,9\n"})
    assert rows(tmp_path / "d[1]" / "a[b].csv") == LOG[:2]
    assert rows(tmp_path / "d[1]" / "*.csv") == LOG


def test_links_are_followed_once(tmp_path):
    tree(tmp_path, DAILY | {"elsewhere/z.csv": "3,5,1\n"})
    day = tmp_path / "d" / "2020-01-01"
    (day / "loop").symlink_to(tmp_path / "d")
    (tmp_path / "d" / "latest").symlink_to(day)
    (day / "again.csv").symlink_to(day / "events.csv")
    (tmp_path / "d" / "more").symlink_to(tmp_path / "elsewhere")
    said = []
    assert sorted(rows(tmp_path / "d", say=said.append)) == [*LOG, ("3", "5")]
    assert sum("a link to what is read" in line for line in said) == 3


LINKS = {
    "": ("2.csv", "latest.csv"),
    "*": ("2.csv", "0.csv"),
    "*.csv*": ("2.csv", "latest.csv"),
    "d*": ("d2", "d0"),
    "d*/*.csv": ("d2/2.csv", "d1/latest.csv"),
    "d*/?.csv": ("d2", "d0"),
    "z": ("z/2.zip", "z/0.zip"),
    "z/*": ("z/2.zip", "z/0.zip"),
}


@pytest.mark.parametrize("path", LINKS)
def test_links_beside_what_they_lead_to_are_left_out_and_said(tmp_path, path):
    place = {"": "{0}.csv", "d": "d{0}/{0}.csv", "z": "z/{0}.zip"}[path[:1].replace("*", "")]
    for number, text in ((1, ONE), (2, TWO)):
        (file := tmp_path / place.format(number)).parent.mkdir(exist_ok=True)
        file.write_text(HEADER + text)
        if file.suffix == ".zip":
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("events.csv", HEADER + text)
    target, link = LINKS[path]
    (tmp_path / link).symlink_to(tmp_path / target)
    said = []
    assert rows(tmp_path / path, say=said.append) == LOG
    assert sum("not read" in line and "to what is read" in line for line in said) == 1


@pytest.mark.parametrize("place", ["d", "d/2020-01-01"])
@pytest.mark.parametrize("what", ["pipe", "link"])
def test_what_is_no_file_is_refused_at_once(tmp_path, place, what):
    tree(tmp_path, DAILY)
    odd = tmp_path / place / "x.csv"
    os.mkfifo(odd) if what == "pipe" else odd.symlink_to("nowhere")
    with pytest.raises(UserError, match=r"x\.csv: (a pipe|a link to nowhere).*: remove it"):
        read(tmp_path / "d")
    with pytest.raises(UserError, match=r"x\.csv: .*(a pipe|a link to nowhere)"):
        read(odd)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    path = tree(tmp_path, {"a.csv": ONE + TWO}) / "a.csv"

    def append(_):
        with path.open("a") as file:
            file.write("1,9,200\n")

    with pytest.raises(UserError, match=r"a\.csv: changed while it was read: wait until it is written"):
        read(path, progress=append)


def test_names_of_any_bytes_are_read_or_refused(tmp_path):
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\n[b]"))
    assert rows(tree(odd, {"a.csv": ONE, "day=1/x": b""})) == LOG[:2]
    (odd / "a.csv").unlink()
    tree(odd, {os.fsdecode(b"day=\xe9/x.csv"): ONE})
    with pytest.raises(UserError, match="is not named in UTF-8: rename it") as caught:
        read(odd)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["~nobody-of-this-name/x.csv", "x" * 300, "a/" * 3000, "/dev/null", "no/*/such"])
def test_paths_that_lead_nowhere_are_said(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        read(path)


def test_there_are_bounds_to_what_a_folder_holds(tmp_path, monkeypatch):
    tree(tmp_path, DAILY | {"deep/" + "a/" * 40 + "x.csv": ONE})
    with pytest.raises(UserError, match="over 32 folders within each other"):
        read(tmp_path / "deep")
    monkeypatch.setattr(walking, "MOST", 1)
    for path in ("d", "d/*"):
        with pytest.raises(UserError, match="over 1 files: "):
            read(tmp_path / path)
    monkeypatch.setattr(walking, "MOST", 2)
    tree(tmp_path, {"near/" + "a/" * 32 + "x.csv": ONE})
    assert rows(tmp_path / "d") == rows(tmp_path / "d/*") == LOG and rows(tmp_path / "near") == LOG[:2]


def test_a_folder_of_zips_is_read_a_file_a_zip(tmp_path):
    for day, text in enumerate((ONE, TWO)):
        with zipfile.ZipFile(tmp_path / f"{day}.zip", "w") as archive:
            archive.writestr("events.csv", HEADER + text)
            archive.writestr("__MACOSX/._events.csv", b"\0")
    assert rows(tmp_path) == rows(tmp_path / "*.zip") == LOG
    (tmp_path / "1.zip").unlink()
    assert rows(tmp_path) == LOG[:2]


def test_a_zip_of_several_logs_is_not_guessed(tmp_path):
    for name in ("u.data", "ratings.dat"):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for folder in "ab":
                archive.writestr(f"{folder}/{name}", "1::5::3::100\n")
        with pytest.raises(UserError, match=rf"2 logs \(a/{name}, b/{name}\): name the one to read"):
            read(tmp_path / "a.zip")


def test_pairs_are_still_pairs(tmp_path):
    put(tmp_path / "pairs.txt", "1 5\n1 6\n")
    assert rows(tmp_path) == LOG[:2]


@pytest.mark.parametrize("name", ["table", "", "table/part-0.parquet", "table/day=1", "table/*.parquet", "*"])
def test_files_of_a_delta_table_are_refused_since_they_hold_removed_rows(tmp_path, name):
    content = parquet(f"{HEADER}1,2,3\n1,3,4\n")
    files = {"_delta_log/0.json": b"{}", "part-0.parquet": content, "day=1/part-0.parquet": content}
    tree(tmp_path / "lake" / "table", files)
    with pytest.raises(UserError, match=r"Delta table.*whose files hold removed rows too: name the table's folder"):
        read(tmp_path / "lake" / name)


def test_a_shard_that_is_not_utf_8_is_refused_under_any_name(tmp_path):
    (tmp_path / "part1.dat").write_bytes("user;item;place\n1;5;Caf\u00e9\n".encode("latin-1"))
    (tmp_path / "part2.dat").write_text("user;item;place\n1;6;Bar\n")
    (tmp_path / "picture.bin").write_bytes(b"\x89PNG\r\n\x1a\n;;\x00\x00")
    with pytest.raises(UserError, match=r"part1\.dat, line 2: .*not UTF-8 text: .*iconv"):
        read(tmp_path)


def test_caches_beside_a_saved_data_set_are_left_out_and_said(tmp_path):
    said, frame = [], pl.DataFrame({"user": [1, 1, 2], "item": [5, 6, 5]})
    for name in ("data-00000-of-00001.arrow", "cache-1a2b.arrow"):
        frame.write_ipc(tmp_path / name)
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
    assert len(read(tmp_path, say=said.append).items) == 3
    assert "not read: cache-1a2b.arrow: not among the files that state.json names" in said
    (tmp_path / "state.json").write_text('{"epoch": 3}')  # a file of another program
    assert len(read(tmp_path).items) == 6


def test_a_file_that_is_another_byte_for_byte_is_said(tmp_path):
    said = []
    heard = lambda: (said.clear(), read(tmp_path, say=said.append)) and "\n".join(said)
    (tmp_path / "a.csv").write_text("user,item,time\n1,2,100\n1,3,200\n2,3,300\n")
    (tmp_path / "a (1).csv").write_text((tmp_path / "a.csv").read_text())
    assert "a.csv equals a (1).csv byte for byte, and is read too: if these are copies, remove them" in heard()
    (tmp_path / "a (2).csv").write_text((tmp_path / "a.csv").read_text())
    assert "byte for byte (and 1 more equal another), and is read too" in heard()
    (tmp_path / "a (2).csv").unlink()
    (tmp_path / "a (1).csv").write_text("user,item,time\n1,2,100\n1,3,201\n")
    assert "byte for byte" not in heard()
    for name in ("b", "c"):
        (tmp_path / f"{name}.csv").write_text("user,item,time\n\n")
    assert "byte for byte" not in heard()  # both have only a header
