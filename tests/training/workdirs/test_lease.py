"""Laws of jaxrec.training.workdirs.lease: only one process has a workdir in a store, until it ends or is dead."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from memory_stores import Cut

from jaxrec.system.errors import UserError
from jaxrec.training.workdirs import lease

ROOT, ADDRESS = "/bucket/run", "memory://bucket/run"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(lease, "RENEW", 0.05)
    monkeypatch.setattr(lease, "STALE", 0.5)


def acquire(store, owner):
    return lease.acquire(store, ROOT, ADDRESS, owner)


def killed(held):
    """Ends the renewals of a lock as if the process were killed: nothing is written."""
    held._ended.set()
    held._thread.join()


def test_of_many_at_once_one_has_it_and_the_others_are_told_who(store):
    atomic, create = threading.Lock(), store.pipe_file

    class Atomic(Cut):
        def pipe_file(self, *args, **options):
            with atomic:
                return create(*args, **options)

    def attempt(owner):
        try:
            return acquire(Atomic(store), owner)
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(attempt, map(str, range(8))))
    (held,) = [each[0] for each in found if not isinstance(each, str)]
    refused = [each for each in found if isinstance(each, str)]
    assert len(refused) == 7 and all("is in use by another training (process" in each for each in refused)
    held.check()
    held.release()


def test_what_is_released_is_free_at_once_and_its_number_is_not_used_again(store, monkeypatch):
    monkeypatch.setattr(lease, "STALE", 1e9)
    first, before = acquire(store, "a")
    assert before == {} and first.number == 1
    first.release()
    second, before = acquire(store, "b")
    assert before["owner"] == "a" and before["ended"] and second.number == 2
    assert store.ls(f"{ROOT}/.lock", detail=False) == [f"{ROOT}/.lock/2"]
    second.release()


def test_who_is_dead_is_waited_for_and_then_replaced_and_would_notice(store):
    said = []
    first, _ = acquire(store, "a")
    killed(first)
    second, before = lease.acquire(store, ROOT, ADDRESS, "b", said.append)
    assert before["owner"] == "a" and "waiting 0.5 seconds" in said[0]
    first._ended.clear()  # it was not dead after all
    with pytest.raises(UserError, match=r"memory://bucket/run was taken over by another training \(process"):
        first.renew()
    with pytest.raises(UserError, match="taken over"):
        first.check()
    first.release()
    second.renew()
    second.check()
    second.release()


def test_a_copy_whose_process_has_ended_is_not_waited_for(store, monkeypatch):
    monkeypatch.setattr(lease, "STALE", 1e9)
    first, _ = acquire(store, "a")
    killed(first)
    second, before = acquire(store, "a")
    assert before["owner"] == "a" and second.number == 2
    second.release()


def test_a_lock_is_renewed_until_it_is_released(store):
    held, _ = acquire(store, "a")
    threading.Event().wait(0.3)
    assert lease._newest(store, ROOT)[1]["renewed"] >= 2
    held.release()
    _, words = lease._newest(store, ROOT)
    threading.Event().wait(0.15)
    assert words["ended"] and lease._newest(store, ROOT)[1] == words


def test_a_lock_that_is_there_is_not_written_over(store):
    """Not even by a process that looked for a lock before it was created."""

    class Second(Cut):
        held = None

        def pipe_file(self, *args, **options):
            if Second.held is None:
                Second.held = acquire(store, "a")[0]
            return store.pipe_file(*args, **options)

    with pytest.raises(UserError, match="in use by another training"):
        acquire(Second(store), "b")
    Second.held.renew()
    Second.held.release()


def test_a_number_that_comes_too_late_is_given_back(store):
    """A process that read 1 as the newest number, and writes 2 after 2 was used and removed, doesn't get the lock."""
    first, _ = acquire(store, "a")
    first.release()

    class Late(Cut):
        been = False

        def pipe_file(self, *args, **options):
            if not Late.been:
                Late.been = True
                acquire(store, "b")[0].release()
                Late.held = acquire(store, "c")[0]
                assert Late.held.number == 3
            return store.pipe_file(*args, **options)

    with pytest.raises(UserError, match="in use by another training"):
        acquire(Late(store), "d")
    Late.held.renew()
    Late.held.check()
    Late.held.release()


@pytest.mark.parametrize("written", [True, False])
def test_an_answer_that_is_lost(store, written):
    class Lost(Cut):
        def pipe_file(self, *args, **options):
            if written:
                store.pipe_file(*args, **options)
            raise OSError("the line went dead")

    if not written:
        with pytest.raises(OSError, match="dead"):
            acquire(Lost(store), "a")
        return
    held, _ = acquire(Lost(store), "a")
    assert held.number == 1
    killed(held)


def test_where_two_wrote_the_same_number_one_notices(store):
    """As can happen in a store without conditional writes."""
    first, _ = acquire(store, "a")
    killed(first)
    lease._write(store, ROOT, 1, first._words | {"training": "another", "owner": "b"})
    first._ended.clear()
    with pytest.raises(UserError, match="taken over"):
        first.renew()


def test_a_renewal_that_comes_after_the_release_changes_nothing(store):
    """The thread may have begun it before the release. The next training need not wait."""
    held, _ = acquire(store, "a")
    held.release()
    words = lease._newest(store, ROOT)[1]
    held.renew()
    assert words["ended"] and lease._newest(store, ROOT)[1] == words
