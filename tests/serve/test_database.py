"""Whatever happens to the events file of a running service, it keeps what it acknowledges, or acknowledges nothing."""

import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import time

import pytest

from jaxrec.serve import database, store
from jaxrec.serve.database import Database, Unavailable
from jaxrec.serve.store import Events
from jaxrec.system.errors import UserError

from .conftest import until


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(store, "EVERY", 0.05)
    monkeypatch.setattr(database, "BUSY", 0.1)


@pytest.fixture
def path(tmp_path):
    folder = tmp_path / "a folder [of] 100%?#"
    folder.mkdir()
    return folder / "events 7%.db"


@pytest.fixture
def events(path):
    events = Events(path, 100)
    yield events
    events.close()


def kept(events, item):
    """Whether an event was acknowledged."""
    try:
        return events.append("u", [item]).result(10) == 1
    except Unavailable as error:
        assert str(error)
        return False


def there(path):
    connection = sqlite3.connect(path)
    with contextlib.closing(connection):
        return [int(item) for (item,) in connection.execute("SELECT item FROM events ORDER BY number")]


def move(path):
    path.rename(path.with_suffix(".moved"))


def move_folder(path):
    path.parent.rename(path.parent.with_suffix(".moved"))


def replace(path):
    other = path.with_suffix(".other")
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE something (else_ INTEGER)")
    connection.close()
    other.replace(path)


def copy_in_its_place(path):
    shutil.copy(path, path.with_suffix(".copy"))
    path.with_suffix(".copy").replace(path)
    path.with_suffix(".db-wal").rename(path.with_suffix(".away"))
    path.write_bytes(b"")


FAULTS = {
    "moved": move,
    "folder moved": move_folder,
    "deleted": lambda path: path.unlink(),
    "folder deleted": lambda path: shutil.rmtree(path.parent),
    "replaced": replace,
    "emptied copy": copy_in_its_place,
    "a link to nothing": lambda path: (path.unlink(), path.symlink_to("nowhere")),
    "a link to itself": lambda path: (path.unlink(), path.symlink_to(path.name)),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_is_taken_away_is_noticed_at_once(events, path, fault):
    assert kept(events, 1)
    FAULTS[fault](path)
    assert not kept(events, 2) and events.trouble and str(path) not in events.trouble
    with pytest.raises(Unavailable):
        events.newest("u", 10)
    time.sleep(0.15)
    assert events.alive and events.trouble and not kept(events, 3)


def test_it_is_noticed_without_a_request(events, path):
    assert kept(events, 1)
    path.unlink()
    until(lambda: events.trouble, 5)


@pytest.mark.parametrize("fault", ["moved", "folder moved"])
def test_what_was_moved_holds_all_and_goes_on_where_it_was(events, path, fault):
    acknowledged = [item for item in range(5) if kept(events, item)]
    folder, moved = path.parent.with_suffix(".moved"), path.with_suffix(".moved")
    FAULTS[fault](path)
    until(lambda: events.trouble, 5)
    assert there(folder / path.name if "folder" in fault else moved) == acknowledged == list(range(5))
    folder.rename(path.parent) if "folder" in fault else moved.rename(path)
    until(lambda: not events.trouble, 5)
    assert kept(events, 5) and events.newest("u", 10) == list(range(6))


def test_a_file_that_was_cut_is_whole_again_or_refused(events, path):
    acknowledged = [item for item in range(5) if kept(events, item)]
    os.truncate(path, 0)
    assert not kept(events, 5)
    until(lambda: not events.trouble, 5)  # the write-ahead log held everything
    assert set(events.newest("u", 10)) >= set(acknowledged)
    events._database._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert kept(events, 6)  # now the log holds only this
    os.truncate(path, 0)
    assert not kept(events, 7)
    time.sleep(0.15)
    assert events.trouble and not kept(events, 8)


@pytest.mark.parametrize("ending", ["-wal", "-shm"])
def test_without_what_lies_beside_it_nothing_is_lost(events, path, ending):
    acknowledged = [item for item in range(5) if kept(events, item)]
    os.unlink(f"{path}{ending}")
    until(lambda: kept(events, 5), 5)  # the file is opened again
    assert set(events.newest("u", 10)) >= {*acknowledged, 5}
    events.close()
    assert set(there(path)) >= {*acknowledged, 5}


def test_a_backup_put_in_its_place_is_what_it_goes_on_with(events, path, tmp_path):
    assert kept(events, 1)
    backup = Events(tmp_path / "backup.db", 10)
    assert backup.append("u", [7]).result() == 1
    backup.close()
    (tmp_path / "backup.db").replace(path)
    assert not kept(events, 2)
    until(lambda: kept(events, 8), 5)
    assert events.newest("u", 10) == [7, 8]  # nothing from the other file's log


def test_a_lock_of_another_is_waited_for_and_then_refused(events, path):
    assert kept(events, 1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    begun = time.monotonic()
    assert not kept(events, 2) and time.monotonic() - begun < 5 and not events.trouble
    assert events.newest("u", 10) == [1]
    other.execute("COMMIT")
    assert kept(events, 3) and events.newest("u", 10) == [1, 3]
    other.close()


def test_two_services_share_a_file(events, path):
    second = Events(path, 100)
    assert all(kept(each, item) for item in range(20) for each in (events, second))
    second.close()
    assert kept(events, 20) and len(events.newest("u", 100)) == 41 and not events.trouble


def test_only_its_owner_reads_it(events, path):
    before = os.umask(0)
    try:
        assert kept(events, 1)
        assert {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {0o600}
        assert len(list(path.parent.iterdir())) == 3
    finally:
        os.umask(before)


@pytest.mark.parametrize("use", [lambda events: kept(events, 2), lambda events: events.newest("u", 1)])
def test_a_file_whose_table_was_taken_away_is_not_healthy(events, path, use):
    assert kept(events, 1)
    connection = sqlite3.connect(path)
    with contextlib.closing(connection), connection:
        connection.execute("DROP TABLE events")
    with contextlib.suppress(Unavailable):
        assert not use(events)
    until(lambda: events.trouble, 5)
    time.sleep(0.15)
    assert "no such table" in events.trouble and not kept(events, 3)


@pytest.mark.parametrize("damage", ["middle", "rows"])
def test_what_can_not_be_read_is_said(events, path, damage):
    assert events.append("u", [f"{item:0100}" for item in range(300)]).result() == 300
    events.close()
    if damage == "middle":
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (path.stat().st_size - 4096))
    else:
        connection = sqlite3.connect(path)
        with connection:
            connection.execute("UPDATE events SET item = '[', time = 1e300")
        connection.close()
    with contextlib.suppress(UserError):
        again = Events(path, 10)
        with pytest.raises(Unavailable):
            again.newest("u", 10)
        again.close()


def test_a_log_without_its_file_is_refused(path):
    code = "import os, sys; from jaxrec.serve.store import Events; e = Events(sys.argv[1], 9)"
    code += "; e.append('u', [1]).result(); os.rename(sys.argv[1], sys.argv[1] + '.moved'); os._exit(0)"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    with pytest.raises(UserError, match="restore that file"):
        Events(path, 9)
    assert not path.exists()
    (path.parent / f"{path.name}.moved").rename(path)
    events = Events(path, 9)
    assert events.newest("u", 9) == [1]
    events.close()


def test_another_database_is_left_as_it_is(path):
    replace(path)
    before = path.read_bytes()
    with pytest.raises(UserError, match="something else"):
        Events(path, 9)
    assert path.read_bytes() == before and [each.name for each in path.parent.iterdir()] == [path.name]


FULL = """
import resource, sys
from jaxrec.serve.store import Events

events, item, refused = Events(sys.argv[1], 100), 0, 0
while refused < 5:  # files end at 100,000 bytes
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    item += 1
    try:
        events.append("u", [item, "x" * 2000]).result()
    except Exception as error:
        refused += 1
        print(type(error).__name__, error, file=sys.stderr)
    else:
        print(item)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
events.append("u", [0, ""]).result()
print(0)
events.close()
"""


def test_on_a_full_disk_nothing_acknowledged_is_lost(path):
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, timeout=60)
    acknowledged = [int(line) for line in done.stdout.split()]
    assert done.returncode == 0 and done.stderr.count("Unavailable") == 5 and acknowledged[-1] == 0, done.stderr
    again = Events(path, 10)
    assert [item for item in again.newest("u", 10**6) if isinstance(item, int)] == acknowledged
    again.close()


def test_every_commit_waits_for_the_disk(tmp_path):
    database = Database(tmp_path / "e.db", create=True)
    ask = lambda what: database._writer.execute(f"PRAGMA {what}").fetchone()
    assert ask("journal_mode") == ("wal",) and ask("synchronous") == (2,)  # 2 is FULL: else the log is synced later
    database.close()


def test_what_goes_wrong_again_is_said_again(events, path, caplog):
    """It is reported only once while it lasts."""
    for number in range(1, 3):
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        assert not kept(events, 1) and not kept(events, 2)
        other.execute("COMMIT")
        other.close()
        assert kept(events, 3) and len(caplog.records) == number
