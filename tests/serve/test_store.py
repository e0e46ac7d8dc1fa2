"""Events: in order, by many at once, and there after kill -9."""

import os
import queue
import signal
import subprocess
import sys
import threading

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from jaxrec.serve.store import Events
from jaxrec.system.errors import UserError

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


def test_a_user_is_its_text_and_events_stay(tmp_path):
    events = Events(tmp_path / "e.db", 10)
    events.append(7, ["x", 5]).result()
    events.close()
    again = Events(tmp_path / "e.db", 10)
    assert again.newest("7", 10) == again.newest(7, 10) == ["x", 5]
    again.close()


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
