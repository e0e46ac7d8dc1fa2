"""Work side by side: everything runs once, never two pieces at a time on a device, and a stop reaches all lanes."""

import signal
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given, strategies as st

from jaxrec.api.lanes import Lanes
from jaxrec.training.fit import Stopped


def pieces(names):
    return [SimpleNamespace(name=name) for name in names]


@given(devices=st.integers(1, 5), rounds=st.lists(st.sets(st.sampled_from("abcdefgh")), max_size=4))
def test_every_piece_is_done_once_and_lanes_are_evenly_full(devices, rounds):
    lanes = Lanes(range(devices))
    for names in rounds:
        done, busy = [], [threading.Lock() for _ in range(devices)]

        def work(piece, own, _signals, done=done, busy=busy):
            (device,) = own
            assert busy[device].acquire(blocking=False)
            done.append((piece.name, device))
            busy[device].release()

        lanes.run(work, pieces(sorted(names)))
        assert sorted(name for name, _ in done) == sorted(names)
        each = [sum(device == at for _, device in done) for at in range(devices)]
        assert max(each) <= -(-len(names) // devices)


def test_a_piece_stays_in_its_lane_while_nobody_waits_for_it():
    lanes, found = Lanes(range(3)), []
    for names in ("abc", "cab", "b", "ab"):
        lanes.run(lambda piece, own, _: found.append((piece.name, *own)), pieces(names))
    assert len(set(found)) == 3 and len({device for _, device in found}) == 3


def test_lanes_work_at_the_same_time():
    meet = threading.Barrier(4, timeout=60)
    Lanes(range(4)).run(lambda *_: meet.wait(), pieces("abcd"))


def test_one_lane_works_in_the_calling_thread_and_leaves_signals_to_the_work():
    seen = []
    Lanes(["one"]).run(
        lambda piece, own, signals: seen.append((own, signals, threading.current_thread())), pieces("ab")
    )
    assert seen == [(["one"], None, threading.main_thread())] * 2


def test_an_error_is_raised_after_all_lanes_are_done():
    done = []

    def work(piece, own, _):
        if piece.name == "a":
            raise ValueError("a is broken")
        done.append(piece.name)

    with pytest.raises(ValueError, match="a is broken"):
        Lanes(range(2)).run(work, pieces("abcd"))
    assert {"b", "d"} <= set(done)


def test_a_signal_reaches_the_work_of_every_lane():
    ready, caught = threading.Barrier(3, timeout=60), []

    def work(piece, own, signals):
        if ready.wait() == 0:
            threading.Event().wait(0.3)  # the main thread sleeps by now, and goes on sleeping: the signal is this one's
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        for _ in range(1000):
            if signals.caught:
                caught.append(signals.caught)
                return
            threading.Event().wait(0.01)

    with pytest.raises(Stopped):
        Lanes(range(3)).run(work, pieces("abc"))
    assert caught == [signal.SIGTERM] * 3


def test_a_signal_by_which_no_work_ends_is_not_lost():
    begun, both = [], threading.Barrier(2, timeout=60)

    def work(piece, own, signals):
        begun.append(piece.name)
        both.wait()
        if piece.name == "a":
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        while not signals.caught:
            threading.Event().wait(0.01)

    with pytest.raises(Stopped) as stopped:
        Lanes(range(2)).run(work, pieces("abcdef"))
    assert stopped.value.signum == signal.SIGINT and sorted(begun) == ["a", "b"]
