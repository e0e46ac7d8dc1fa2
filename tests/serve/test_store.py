"""Events are kept in order, with many writers at once, and survive kill -9."""

import contextlib
import os
import queue
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from jaxrec.serve.database import Database, Lost, Unavailable
from jaxrec.serve.store import Events
from jaxrec.system.errors import UserError

EARLIER = """
    CREATE TABLE events (number INTEGER PRIMARY KEY, user TEXT NOT NULL, item TEXT NOT NULL, time REAL NOT NULL);
    CREATE INDEX newest ON events (user, time, number);
    PRAGMA user_version = 1;
"""
WRITER = """
import sys
from jaxrec.serve.store import Events

events, number = Events(sys.argv[1], 100), int(sys.argv[2])
while True:  # several at once, each acknowledged on a line once it is on disk
    appended = [(number + i, events.append("u", [number + i])) for i in range(5)]
    for item, done in appended:
        done.result()
        print(item, flush=True)
    number += 5
"""


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.lists(st.integers() | st.text(max_size=3), max_size=3), st.integers(0, 5))
    )
)
def test_the_newest_come_in_the_order_of_time(tmp_path_factory, appended):
    events = Events(tmp_path_factory.mktemp("events") / "events.db", 100)
    done = [events.append(user, items, time) for user, items, time in appended]
    assert [each.result() for each in done] == [len(items) for _, items, _ in appended]
    for user in "ab":
        own = sorted((each for each in appended if each[0] == user), key=lambda each: each[2])
        expected = [item for _, items, _ in own for item in items]
        assert events.newest(user, 1000) == expected and events.newest(user, 2) == expected[-2:]
    events.close()


columns = st.dictionaries(st.sampled_from("aä"), st.none() | st.integers() | st.text() | st.booleans(), min_size=1)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from([7, "7", "b"]), columns), max_size=6))
def test_of_a_users_columns_the_last_that_was_told_is_known(tmp_path_factory, told):
    events, known = Events(tmp_path_factory.mktemp("events") / "events.db", 100), {"7": {}, "b": {}}
    done = [events.append(user, ["i"], columns=columns) for user, columns in told]
    for user, columns in told:
        known[str(user)] = {name: now for name, now in (known[str(user)] | columns).items() if now is not None}
    assert [each.result() for each in done] == [1] * len(told)
    assert all(events.columns(user) == known[user] for user in known)
    events.close()


def test_a_user_is_its_text_and_events_stay(tmp_path):
    events = Events(tmp_path / "e.db", 10)
    events.append(7, ["x", 5]).result()
    events.close()
    again = Events(tmp_path / "e.db", 10)
    assert again.newest("7", 10) == again.newest(7, 10) == ["x", 5]
    again.close()


def test_what_is_known_of_events_is_kept(tmp_path):
    events = Events(tmp_path / "e.db", 10)
    events.append("u", ["x", 5], 3.0, 2.5, "view").result()
    events.append("u", ["y"], 4.0, type="buy", session=7).result()
    seen = (3.0, 2.5, "view", None)
    assert events.past("u", 10) == [("x", *seen), (5, *seen), ("y", 4.0, None, "buy", "7")]
    events.close()


@pytest.mark.parametrize("again", [False, True])
def test_a_file_of_an_earlier_version_goes_on_and_so_does_that_version(tmp_path, again):
    path = tmp_path / "e.db"
    with contextlib.closing(sqlite3.connect(path)) as before:
        before.executescript(EARLIER)
        before.execute("INSERT INTO events (user, item, time) VALUES ('u', '1', 2.0)")
        before.commit()
    for _ in range(1 + again):
        events = Events(path, 10)
        assert events.past("u", 1) == [(1, 2.0, None, None, None)] or again
        events.append("u", [2], 3.0, 1.5, "buy", "a").result()
        assert events.past("u", 1) == [(2, 3.0, 1.5, "buy", "a")]
        events.close()
    with contextlib.closing(sqlite3.connect(path)) as before:  # as the earlier version does
        assert before.execute("PRAGMA user_version").fetchone() == (1,)
        before.execute("INSERT INTO events (user, item, time) VALUES ('u', '3', 4.0)")
        found = before.execute("SELECT item, time FROM events ORDER BY number").fetchall()
        assert found[0] == ("1", 2.0) and found[-1] == ("3", 4.0)


def test_many_writers_lose_nothing(tmp_path):
    events = Events(tmp_path / "e.db", 1000)
    write = lambda user: [events.append(user, [item]) for item in range(50)][-1].result()
    writers = [threading.Thread(target=write, args=(user,)) for user in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert all(events.newest(user, 100) == list(range(50)) for user in range(8))
    events.close()


def test_too_many_waiting_are_refused(tmp_path):
    events = Events(tmp_path / "e.db", 1)
    with pytest.raises(queue.Full):
        for _ in range(1000):
            events.append("u", [1])
    events.close()


def test_what_is_no_store_is_refused(tmp_path):
    (tmp_path / "text").write_text("not a database, but a text that is long enough to be looked at" * 20)
    for path in (tmp_path / "text", tmp_path / "nowhere" / "e.db"):
        with pytest.raises(UserError, match="name another with --events"):
            Events(path, 10)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_every_acknowledged_event_is_there_after_kill_9(tmp_path, kills):
    path, acknowledged = tmp_path / "e.db", []
    for kill in range(kills):
        command = [sys.executable, "-c", WRITER, str(path), str(1_000_000 * kill)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        acknowledged += [int(writer.stdout.readline()) for _ in range(20 + 37 * kill)]
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged += [int(line) for line in writer.stdout if line.endswith("\n")]
        writer.wait()
    events = Events(path, 10)
    there = events.newest("u", 10_000_000)
    events.close()
    assert set(acknowledged) <= set(there) and len(there) == len(set(there))


def test_a_reader_of_the_file_before_does_not_lose_the_one_that_is_there_again(tmp_path, monkeypatch):
    """If a reader finds its file closed, that file was lost before; the one opened since stays in use."""
    events = Events(tmp_path / "e.db", 10)
    events.append("u", ["x"]).result()
    before = events._database

    def newest(database, *_):
        assert database is before
        events._database = Database(tmp_path / "e.db", create=False)  # as the writing thread does meanwhile
        raise Lost("it is closed")

    with monkeypatch.context() as patch:
        patch.setattr(Database, "newest", newest)
        with pytest.raises(Lost):
            events.past("u", 10)
    assert events.trouble is None
    assert events.append("u", ["y"]).result() == 1 and events.newest("u", 10) == ["x", "y"]
    events.close()


@pytest.mark.slow
def test_a_file_that_is_back_goes_on_under_readers(tmp_path):
    events, stop = Events(tmp_path / "e.db", 100), threading.Event()
    events.append("u", ["x"]).result()

    def read():
        while not stop.wait(0.001):
            with contextlib.suppress(Unavailable):
                events.past("u", 10)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(3):
            os.rename(tmp_path / "e.db", tmp_path / "away.db")
            with pytest.raises(Unavailable):
                events.append("u", ["lost"]).result()
            os.rename(tmp_path / "away.db", tmp_path / "e.db")
            begun = time.monotonic()
            while events.trouble and time.monotonic() < begun + 20:
                time.sleep(0.05)
            for _ in range(20):  # from then on, nothing is refused
                assert events.append("u", ["y"]).result() == 1
                time.sleep(0.05)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
        events.close()
