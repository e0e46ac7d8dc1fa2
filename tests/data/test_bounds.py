"""Hostile input ends quickly, in little memory, with a message that names the limit. Slow tests use full sizes."""

import gzip
import os
import subprocess
import sys
import zipfile

import pytest

from jaxrec.data.files import text
from jaxrec.data.files.text import BadRows, File, pieces
from jaxrec.data.reading import read
from jaxrec.system.errors import UserError
from jaxrec.system.files import read_json

HEADER = b"user,item,time\n"
LOG = HEADER + b"1,1,1\n1,2,2\n"


@pytest.fixture
def tight(monkeypatch):
    """Sets the limits of `text` to about a thousandth of their values."""
    for name, value in {"PIECE": 1 << 15, "LINES": 1 << 10, "LINE": 1 << 16, "BLOCK": 1 << 10, "BAD": 1000}.items():
        monkeypatch.setattr(text, name, value)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("number", [500, 5_000])
@pytest.mark.parametrize("name", ["a.csv", "sequences.txt", "a.jsonl"])
def test_blank_lines_are_skipped_up_to_a_number(tmp_path, tight, end, number, name):
    lines = {
        "a.csv": (LOG, b"1,3,3\n"),
        "sequences.txt": (b"1 1 2 3\n", b""),
        "a.jsonl": (b'{"user":1,"item":1}\n', b'{"user":1,"item":2}\n'),
    }
    before, after = lines[name]
    (tmp_path / name).write_bytes((before + b"\n" * number + after).replace(b"\n", end))
    if number < text.LINES:
        assert len(read(tmp_path / name).items) >= 2
    else:
        with pytest.raises(
            UserError, match=r"line \d+: .*over 1,0\d\d.*blank lines one after another: remove them|over 1,048,576"
        ):
            read(tmp_path / name)


@pytest.mark.parametrize("number", [1 << 15, 1 << 17])
@pytest.mark.parametrize("name", ["a.csv", "sequences.txt", "a.jsonl"])
def test_a_line_has_a_bound(tmp_path, tight, number, name):
    long = b"1" * number
    row = {
        "a.csv": b"1," + long + b",3\n",
        "sequences.txt": b"2 1 " + long + b"\n",
        "a.jsonl": b'{"user":1,"item":"%b"}\n' % long,
    }
    head = {"a.csv": LOG, "sequences.txt": b"1 1 2\n", "a.jsonl": b'{"user":1,"item":1}\n'}
    (tmp_path / name).write_bytes(head[name] + row[name])
    if number < text.LINE:
        assert max(len(str(item)) for item in read(tmp_path / name).catalogue.ids) == number
    else:
        with pytest.raises(UserError, match=r"line [234]: no line end in 65,536 bytes: one row per line is expected"):
            read(tmp_path / name)


def test_pieces_have_a_bound_of_lines_and_no_quote_is_cut(tmp_path, tight):
    (tmp_path / "a").write_bytes(b"1\n" * 10_000)
    found = list(pieces(File(tmp_path / "a")))
    assert max(text.newlines(piece.text) for piece in found) < 2 * text.LINES and len(found) > 5
    (tmp_path / "a").write_bytes(b'"\n\n1\n"\n' * 10_000)
    found = list(pieces(File(tmp_path / "a"), quotes=True))
    assert all(piece.text.count(b'"') % 2 == 0 for piece in found) and len(found) > 5
    assert b"".join(piece.text for piece in found) == (tmp_path / "a").read_bytes()


def test_bad_rows_without_end_are_not_all_read(tmp_path, tight):
    (tmp_path / "a.csv").write_bytes(LOG + b"a\n" * 50_000)
    with pytest.raises(UserError, match=r"\(\d,\d\d\d such rows so far: the rest was not read\)"):
        read(tmp_path / "a.csv")
    said = []
    assert len(read(tmp_path / "a.csv", skip_bad_rows=True, say=said.append).items) == 2
    assert "50,000 bad rows skipped, the first:" in said
    bad = BadRows()
    bad.add_number(1000)
    with pytest.raises(UserError, match=r"\(1,000 such rows in all\)"):
        bad.close()


def test_headers_without_end_are_not_all_read(tmp_path, tight):
    (tmp_path / "a.csv").write_bytes(LOG + HEADER * 1000)
    said = []
    assert len(read(tmp_path / "a.csv", say=said.append).items) == 2
    assert any("the header comes again and is left out: 1,000 times, first in line 4" in line for line in said)
    (tmp_path / "a.csv").write_bytes(LOG + HEADER * 1001)
    with pytest.raises(UserError, match=r"a\.csv, line 1004: the header again, over 1,000 times"):
        read(tmp_path / "a.csv", skip_bad_rows=True)


@pytest.mark.parametrize("skip", [False, True])
def test_a_field_may_be_as_long_as_a_line(tmp_path, skip):
    """Even beyond the csv module's limit: also in the slow reader, which blank lines need, in headers and items.csv."""
    import csv

    before = csv.field_size_limit()
    long = "y" * 200_000
    for number, body in enumerate([f'1,2,"{long}"\n1,3,x\n', f'1,2,"{long}"\n\n1,3,"a\nb"\n']):
        path = tmp_path / f"{number}.csv"
        path.write_text(f"user,item,note\n{body}")
        assert read(path, skip_bad_rows=skip).catalogue.ids.tolist() == [2, 3]
    (tmp_path / "h.csv").write_text(f'user,item,"{long}"\n1,2,3\n1,3,4\n')
    assert len(read(tmp_path / "h.csv", skip_bad_rows=skip).items) == 2
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "sequences.txt").write_text("1 2 3\n")
    (tmp_path / "s" / "items.csv").write_text(f'item_id,title\n2,"{long}"\n3,x\n')
    assert read(tmp_path / "s").catalogue.titles == [long, "x"]
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"a":' * 50_000 + "1" + "}" * 50_000, "[" * 100_000 + "]" * 100_000]
)
def test_deep_json_is_no_traceback(tmp_path, content):
    (tmp_path / "sequences.txt").write_text("1 2 3\n2 3 4\n")
    (tmp_path / "stats.json").write_text(content)
    with pytest.raises(UserError, match=r"stats\.json: not JSON .*: mend it, or remove it"):
        read(tmp_path)
    with pytest.raises(ValueError, match=r"too deep|Expecting"):
        read_json(tmp_path / "stats.json")
    (tmp_path / "stats.json").rename(tmp_path / "meta.json")
    assert len(read(tmp_path).items) == 4  # a meta.json of another program
    (tmp_path / "a.jsonl").write_text(
        '{"user":1,"item":1}\n{"user":1,"item":2}\n{"user":1,"item":3,"x":' + content + "\n"
    )
    with pytest.raises(UserError, match=r"line 3: .*not JSON"):
        read(tmp_path / "a.jsonl")


def test_small_files_are_small(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxrec.system.files.SMALL", 100)
    (tmp_path / "sequences.txt").write_text("1 2 3\n2 3 4\n")
    (tmp_path / "stats.json").write_text(" " * 101)
    with pytest.raises(UserError, match=r"stats\.json: not JSON \(over 100 bytes"):
        read(tmp_path)


def test_pipes_in_a_prepared_folder_are_refused_at_once(tmp_path):
    from jaxrec.data import prepared

    (tmp_path / "a.csv").write_bytes(LOG)
    for name in ("items.npy", "users.parquet", "meta.json"):
        folder = tmp_path / name.partition(".")[0]
        prepared.save(read(tmp_path / "a.csv"), folder, {})
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with pytest.raises(UserError, match="prepare it again"):
            read(folder)
        with pytest.raises(UserError):
            prepared.load(folder)


def test_names_and_ids_in_messages_are_escaped_and_cut(tmp_path):
    (tmp_path / "a.csv").write_text('"us\x1b[31mer\x07","' + "x" * 5000 + '"\n1,2\n')
    with pytest.raises(UserError) as caught:
        read(tmp_path / "a.csv")
    assert "us\\x1b[31mer\\x07" in str(caught.value) and len(str(caught.value)) < 1000


MIB = 1 << 20


def big(path, head, block, times, tail=b""):
    with gzip.open(path, "wb", 9) if path.suffix == ".gz" else path.open("wb") as file:
        file.write(head)
        for _ in range(times):
            file.write(block)
        file.write(tail)
    return path


def members(path, name, head, block, times):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w", force_zip64=True) as file:
        file.write(head)
        for _ in range(times):
            file.write(block)
    return path


def many_members(path):
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(4_000):
            archive.writestr(f"{number}.csv", LOG)
    return path


def stats(folder):
    (folder / "sequences.txt").write_text("1 2 3\n2 3 4\n")
    return big(folder / "stats.json.gz", b"", b" " * MIB, 4_000).parent


HOSTILE = {  # what -> (how to make it in a folder, the message or "" if it is read)
    "60 MB of newlines": (lambda folder: big(folder / "a.csv", LOG, b"\n" * MIB, 60), "blank lines"),
    "60 MB of blanks": (lambda folder: big(folder / "a.csv", LOG, b" \n" * MIB, 30), "so far"),
    "newlines in sequences": (lambda folder: big(folder / "sequences.txt", b"1 2 3\n", b"\n" * MIB, 60), "blank lines"),
    "a line of 1,000 MB": (lambda folder: big(folder / "a.csv", LOG, b"x" * MIB, 1_000), "no line end"),
    "a line of JSON": (lambda folder: big(folder / "a.jsonl", b'{"user":1,"item":"', b"x" * MIB, 1_000), "no line end"),
    "a zip of 4,000 members": (lambda folder: many_members(folder / "a.zip"), ""),
    "gzip of 4 GB": (lambda folder: big(folder / "a.csv.gz", LOG, b"1,1,1\n" * (MIB // 6), 4_000), "--allow-large"),
    "gzip of one line": (lambda folder: big(folder / "a.csv.gz", LOG, b"1" * MIB, 4_000), "no line end"),
    "gzip of JSON": (
        lambda folder: big(folder / "a.jsonl.gz", b"", b'{"user":1,"item":1}\n' * (MIB // 20), 4_000),
        "--allow-large",
    ),
    "a member of 8 GB": (
        lambda folder: members(folder / "a.zip", "a.parquet", b"PAR1", bytes(MIB), 8_000),
        "--allow-large",
    ),
    "gzip of headers": (
        lambda folder: big(folder / "a.csv.gz", LOG, HEADER * (MIB // len(HEADER)), 600),
        "the header again",
    ),
    "gzip of a table of items": (
        lambda folder: (
            big(
                big(folder / "a.csv", LOG, b"", 0).with_name("items.csv.gz"),
                b"item,title\n",
                b"1,One\n" * (MIB // 6),
                600,
            ).parent
        ),
        "item 1 has line 2 already",
    ),
    "a stats.json of 4 GB": (stats, "not JSON"),
}
CHILD = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (120, 120))  # of processors' time, which other work does not lengthen
from jaxrec import cli
status = cli.main(["prepare", "--input", sys.argv[1], "--output", sys.argv[2]])
(peak,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(status, peak)  # getrusage would tell of the process that began this one too
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="how much a process takes is read where Linux tells it")
@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_input_takes_little_time_and_memory(tmp_path, what):
    make, message = HOSTILE[what]
    folder = tmp_path / "in"
    folder.mkdir()
    path = make(folder)
    command = [sys.executable, "-c", CHILD, str(path), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=True)
    status, kib = map(int, done.stdout.split()[-2:])
    assert status == (2 if message else 0) and message in done.stderr and "Traceback" not in done.stderr
    assert kib < 1_300 * 1024
