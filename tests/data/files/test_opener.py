"""Laws of data.files.opener: unpacked data stay within bounds, and only regular files are opened."""

import bz2
import gzip
import io
import lzma
import os
import resource
import zipfile
from pathlib import Path

import polars as pl
import pytest

from jaxrec.data.files import opener
from jaxrec.data.files.opener import SUFFIXES, Opener
from jaxrec.data.files.text import File, pieces
from jaxrec.data.formats import columnar
from jaxrec.data.reading import read
from jaxrec.system.errors import UserError

zstd = pytest.importorskip("backports.zstd")
SUM = {zstd.CompressionParameter.checksum_flag: 1}  # a checksum, as the command zstd writes, which reveals damage
PACK = {
    ".gz": gzip.compress,
    ".zst": lambda data: zstd.compress(data, options=SUM),
    ".zstd": lambda data: zstd.compress(data, options=SUM),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
}
TEXT = b"".join(b"%d,%d\n" % (line, line**3) for line in range(5_000))


def test_every_compression_is_tried_here():
    assert set(PACK) == set(SUFFIXES)


@pytest.mark.parametrize("pack", PACK)
@pytest.mark.parametrize("way", ["whole", "two streams", "in a zip"])
def test_what_is_unpacked_is_what_was_packed(tmp_path, pack, way):
    data = PACK[pack](TEXT)
    if way == "two streams" and pack != ".lzma":
        data = PACK[pack](TEXT[:777]) + PACK[pack](TEXT[777:])
    path, member = tmp_path / f"a.txt{pack}", ""
    path.write_bytes(data)
    if way == "in a zip":
        path, member = tmp_path / "a.zip", f"x/a.txt{pack}"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(member, data)
    file = File(path, member)
    assert file.name == "a.txt" and file.suffix == ".txt"
    assert b"".join(piece.text for piece in pieces(file, size=1000)) == TEXT
    assert file.on_disk() == TEXT and file.start(4) == TEXT[:4]


CUT = r"line \d+ or later: the compressed data are cut or damaged .*: fetch the file|line \d+: .*not UTF-8"


@pytest.mark.parametrize("pack", PACK)
@pytest.mark.parametrize("number", range(6))
def test_cut_and_damaged_streams_are_said_with_a_line(tmp_path, pack, number):
    data = bytearray(PACK[pack](TEXT))
    at = len(data) * (number + 2) // 9
    if number % 2:
        data[at : at + 50] = bytes(50)
    else:
        del data[at:]
    (tmp_path / f"a{pack}").write_bytes(data)
    if pack == ".lzma" and number % 2:  # .lzma has no checksum
        return
    with pytest.raises(UserError, match=CUT):
        list(pieces(File(tmp_path / f"a{pack}"), size=5000))


@pytest.mark.parametrize("pack", PACK)
@pytest.mark.parametrize("then", ["garbage", "a stream whose first bytes are damaged"])
def test_what_follows_a_stream_and_is_none_is_refused(tmp_path, pack, then):
    after = b"garbage" if then == "garbage" else b"\xff\xff" + PACK[pack](TEXT)[2:]
    (tmp_path / f"a{pack}").write_bytes(PACK[pack](TEXT) + after)
    with pytest.raises(UserError, match=r"the compressed data are cut or damaged .*: fetch the file again"):
        list(pieces(File(tmp_path / f"a{pack}"), size=5000))


@pytest.mark.parametrize("pack", [".gz", ".bz2", ".xz"])
@pytest.mark.parametrize("again", [False, True])
def test_zeros_after_a_stream_are_no_end_of_the_others(tmp_path, pack, again):
    (tmp_path / f"a{pack}").write_bytes(PACK[pack](TEXT) + bytes(1 << 17) + PACK[pack](TEXT) * again)
    assert b"".join(piece.text for piece in pieces(File(tmp_path / f"a{pack}"))) == TEXT * (1 + again)


@pytest.mark.parametrize("pack", PACK)
def test_what_is_not_as_its_name_says_is_refused(tmp_path, pack):
    (tmp_path / f"a.csv{pack}").write_bytes(b"user,item\n")
    with pytest.raises(UserError, match=rf"a\.csv\{pack}, line 1: not .*, though the name ends in \{pack}: rename it"):
        read(tmp_path / f"a.csv{pack}")


@pytest.fixture
def tight(monkeypatch):
    monkeypatch.setattr(opener, "FLOOR", 50_000)
    return monkeypatch


LOG = b"user,item\n" + b"1,1\n1,2\n" * 20_000


def bomb(folder: Path, way: str) -> Path:
    if way in PACK:
        (folder / "a.csv").with_name(f"a.csv{way}").write_bytes(PACK[way](LOG))
        return folder / f"a.csv{way}"
    if way == "many files":
        for number in range(8):
            (folder / f"{number}.csv.gz").write_bytes(gzip.compress(LOG[:20_002]))
        return folder
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        if way == "many members":
            for number in range(8):
                archive.writestr(f"{number}.csv", LOG[:20_002])
        elif way == "packed twice":
            archive.writestr("a.csv.xz", lzma.compress(LOG))
        elif way == "parquet":
            frame = pl.DataFrame({"user": [1, 2], "item": [1, 2], "text": ["x" * 400_000] * 2})
            frame.write_parquet(out := io.BytesIO(), compression="uncompressed")
            archive.writestr("a.parquet", out.getvalue())
        else:
            archive.writestr("a.csv", LOG)
    return folder / "a.zip"


BOMBS = [".gz", ".zst", ".bz2", ".xz", "zip", "many files", "many members", "packed twice", "parquet"]


@pytest.mark.parametrize("way", BOMBS)
def test_what_unpacks_to_too_much_is_read_with_leave_alone(tmp_path, tight, way):
    tight.setattr(opener, "RATIO", 20)
    path = bomb(tmp_path, way)
    with pytest.raises(UserError, match=r"unpack to over [\d,]+, more than 20 times as many.*--allow-large"):
        read(path)
    assert len(read(path, allow_large=True).items) >= 2
    tight.setattr(opener, "FLOOR", 1 << 20)
    read(path)  # a small file may unpack to any ratio


@pytest.mark.parametrize("way", BOMBS)
def test_an_honest_log_needs_no_leave(tmp_path, tight, way):
    tight.setattr(opener, "RATIO", 100_000)
    read(bomb(tmp_path, way))


def test_a_parquet_file_of_more_rows_than_its_bytes_can_mean_needs_leave(tmp_path, tight):
    pl.DataFrame({"user": 1, "item": pl.Series([1, 2] * 100_000)}).write_parquet(tmp_path / "a.parquet")
    tight.setattr(columnar, "FLOOR", 1000)
    tight.setattr(columnar, "RATIO", 1)
    with pytest.raises(UserError, match=r"200,000 rows in [\d,]+ bytes.*--allow-large"):
        read(tmp_path / "a.parquet")
    assert len(read(tmp_path / "a.parquet", allow_large=True).items) == 200_000


@pytest.mark.parametrize("space", [0, 1 << 40])
def test_what_is_too_large_for_memory_goes_by_the_disk(tmp_path, monkeypatch, space):
    monkeypatch.setattr(opener, "SMALL", 10)
    monkeypatch.setattr(opener.tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(opener.shutil, "disk_usage", lambda path: _Free(space))
    (tmp_path / "tmp").mkdir()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(2):
            pl.DataFrame({"user": [1, 1], "item": [number, 5]}).write_parquet(out := io.BytesIO())
            archive.writestr(f"{number}.parquet", out.getvalue())
    if space:
        assert len(read(tmp_path / "a.zip").items) == 4
    else:
        with pytest.raises(UserError, match=r"0\.parquet: cannot be unpacked to .*: set TMPDIR to a larger disk"):
            read(tmp_path / "a.zip")
    assert not list((tmp_path / "tmp").iterdir())


class _Free:
    def __init__(self, free):
        self.free = free


@pytest.mark.parametrize(("name", "bound"), [("MEMBERS", 2), ("DIRECTORY", 100)])
def test_there_are_bounds_to_what_a_zip_lists(tmp_path, monkeypatch, name, bound):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(3):
            archive.writestr(f"{number}.csv", "user,item\n1,1\n1,2\n")
    assert len(read(tmp_path / "a.zip").items) == 6
    monkeypatch.setattr(opener, name, bound)
    with pytest.raises(UserError, match=r"a\.zip: .*files.*: unzip it, and name the folder"):
        read(tmp_path / "a.zip")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_that_holds_a_name_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for item in range(2):
            archive.writestr("a.csv", f"user,item\n1,{item}\n1,5\n")
    with pytest.raises(UserError, match=r"holds a\.csv 2 times: unzip it"):
        read(tmp_path / "a.zip")


def test_zips_are_closed_while_others_are_read(tmp_path):
    for number in range(60):
        with zipfile.ZipFile(tmp_path / f"{number:02}.zip", "w") as archive:
            archive.writestr("log.csv", f"user,item\n{number},1\n{number},2\n")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 40, limits[1]))
        assert len(read(tmp_path).items) == 120
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_zip_is_opened_once(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(30):
            archive.writestr(f"{number}.csv", "user,item\n1,1\n1,2\n")
    opened = []
    plain = opener.zipfile.ZipFile
    monkeypatch.setattr(opener.zipfile, "ZipFile", lambda *args: opened.append(args) or plain(*args))
    assert len(read(tmp_path / "a.zip").items) == 60
    assert len(opened) == 1


@pytest.mark.parametrize("what", ["pipe", "device", "folder"])
def test_only_files_are_opened(tmp_path, what):
    path = {"pipe": tmp_path / "x", "device": Path("/dev/null"), "folder": tmp_path}[what]
    if what == "pipe":
        os.mkfifo(path)
    with pytest.raises(UserError, match="a pipe, a socket, a device or a folder"):
        Opener().open(path, "", str(path))
