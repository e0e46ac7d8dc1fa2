"""The watcher of checkpoints: no error ends it, and it reports when it could last look."""

import errno
import os
import shutil
import sys
import threading
from types import SimpleNamespace as Namespace

import jax
import numpy as np
import pytest

import jaxrec
from jaxrec.inference import stock
from jaxrec.inference.engine import BEST
from jaxrec.inference.queries import Query
from jaxrec.inference.stock import NewItem
from jaxrec.serve import watch
from jaxrec.serve.stocking import Stocking
from jaxrec.serve.watch import Watcher
from jaxrec.system.errors import UserError
from jaxrec.system.files import read_checked, write_checked
from jaxrec.training.workdirs import workdir

from .conftest import ITEMS, make_workdir, save


class Clock:
    """time.monotonic, set by hand."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(watch, "time", clock)
    return clock


@pytest.fixture
def folder(path, tmp_path):
    """A copy of the workdir, whose checkpoints are empty folders."""
    shutil.copytree(path, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    (tmp_path / "run" / "checkpoints" / "1").mkdir(parents=True)
    return tmp_path / "run"


@pytest.fixture
def seen(monkeypatch, folder):
    """What a watcher did: steps taken and the number refused; also `watcher`, and the `fault` that loading raises."""

    class Seen:
        taken, refused, fault = [], 0, None

        def renew(self, step):
            if self.fault:
                raise self.fault
            return step

        def reload(self, step):
            return "anew", step

        def refuse(self):
            self.refused += 1

    def chosen(path, _checkpoint):
        return max(int(name) for name in os.listdir(path / "checkpoints")), "content"

    monkeypatch.setattr(watch, "chosen", chosen)
    seen = Seen()
    seen.taken = []
    seen.watcher = Watcher(folder, "latest", (1, "content"), seen.renew, seen.reload, seen.taken.append, seen.refuse)
    seen.watcher.look()
    assert not seen.taken and not seen.refused
    return seen


def test_split_tables_are_loaded_renewed_and_loaded_again(tmp_path):
    run, state = make_workdir(tmp_path / "run")
    first = watch.load(run, "latest", False, 10, 2, item_devices=4)
    save(run, 2, state._replace(params=jax.tree.map(lambda x: -x, state.params)))
    whole = jaxrec.load(run, "2")
    for found in (watch.renew(first, 2, 10, 2), watch.reload(run, 2, False, 10, 2, item_devices=4)):
        assert found.engine.mesh.shape["item"] == 4 and found.step == 2
        for queries in ([Query([3, 5], k=9)], [Query([7], k=9), Query([], k=3)]):
            ours, theirs = (each.answer(queries) for each in (found, whole))
            assert [[id for id, _ in answer] for answer in ours] == [[id for id, _ in answer] for answer in theirs]


def loop_of_links(folder, _monkeypatch):
    shutil.rmtree(folder / "checkpoints")
    (folder / "checkpoints").symlink_to("checkpoints")


def no_descriptors(_folder, monkeypatch):
    def scandir(_path):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(watch.os, "scandir", scandir)


def no_folder(folder, _monkeypatch):
    shutil.rmtree(folder / "checkpoints")
    (folder / "checkpoints").write_text("")


@pytest.mark.parametrize("fault", [loop_of_links, no_descriptors, no_folder])
def test_it_looks_again_when_it_can(clock, seen, folder, monkeypatch, fault, caplog):
    with monkeypatch.context() as patch:
        fault(folder, patch)
        for _ in range(40):
            clock.now += 1
            seen.watcher.look()
        assert seen.watcher.told() == {"looked": 40.0, "loading": None, "refused": None} and seen.watcher.late
        assert len(caplog.records) == 1  # one line, as the fault stays the same
        assert "step 1 keeps answering" in caplog.text
    if fault is not no_descriptors:
        (folder / "checkpoints").unlink()
    (folder / "checkpoints" / "2").mkdir(parents=True)
    seen.watcher.look()
    assert seen.watcher.told() == {"looked": 0.0, "loading": None, "refused": None}
    assert seen.taken == [2] and not seen.watcher.late


def test_batches_grow_when_all_that_they_need_is_compiled():
    compiled, engine, batcher = [], Namespace(rows=64, items=500), Namespace(size=1)
    engine.compile = lambda rows, k: compiled.append((rows, k, batcher.size))
    batcher.recommender = Namespace(engine=engine)
    watch.warm(batcher, 1000, 5)
    assert compiled == [(1, 500, 1), (1, BEST, 1), (2, 500, 1), (2, BEST, 1), (4, 500, 2), (4, BEST, 2)]
    assert batcher.size == 4


def test_what_takes_long_to_load_is_not_late_before_its_time_nor_after(clock, seen, folder, monkeypatch):
    def renew(step):
        told = []
        for _ in range(3):
            clock.now += 250
            told.append((seen.watcher.told()["loading"], seen.watcher.late))
        assert told == [(250.0, False), (500.0, False), (750.0, True)]
        return step

    monkeypatch.setattr(seen.watcher, "_renew", renew)
    (folder / "checkpoints" / "2").mkdir()
    seen.watcher.look()
    assert seen.watcher.told() == {"looked": 0.0, "loading": None, "refused": None} and not seen.watcher.late
    assert seen.taken == [2] and not seen.refused


@pytest.mark.parametrize("fault", [UserError("damaged"), OSError(errno.EMFILE, "no"), MemoryError(), KeyError("x")])
def test_a_refused_checkpoint_is_tried_again_at_growing_intervals(clock, seen, folder, fault):
    (folder / "checkpoints" / "2").mkdir()
    seen.fault, tried = fault, []
    for second in range(250):
        before = seen.refused
        seen.watcher.look()
        tried += [second] * (seen.refused - before)
        clock.now += 1
    assert tried == [0, 31, 92, 213] and seen.watcher.told()["refused"] == 2 and not seen.watcher.late
    (folder / "checkpoints" / "3").mkdir()
    seen.fault = None
    seen.watcher.look()
    assert seen.taken == [3] and seen.watcher.told()["refused"] is None


def test_what_vanishes_is_refused_and_does_not_end_it(clock, seen, folder):
    shutil.rmtree(folder / "checkpoints")
    (folder / "checkpoints").mkdir()
    seen.watcher.look()
    assert seen.refused == 1 and not seen.watcher.late


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # an exception ends the thread
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no priority of its own")
def test_it_is_of_low_priority_and_its_process_is_not(folder, monkeypatch):
    found = []

    def sleep(_seconds):
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        raise SystemExit

    monkeypatch.setattr(watch.time, "sleep", sleep)
    before = os.getpriority(os.PRIO_PROCESS, 0)
    watcher = Watcher(folder, "best", (1, None), None, None, None, None)
    watcher.start()
    watcher.join()
    assert found == [max(before, watch.NICE)] and os.getpriority(os.PRIO_PROCESS, 0) == before


def watching(address):
    """(Watcher of an address that has loaded its current checkpoint, the list of steps that it takes)."""
    taken, there = [], watch.contents(address, "latest")
    current = max(there.items())
    return Watcher(address, "latest", current, lambda step: step, None, taken.append, lambda: taken.append(None)), taken


def test_a_workdir_in_a_store_is_looked_at_there(store, path, clock, monkeypatch):
    store.put(str(path), "/bucket/run", recursive=True)
    watcher, taken = watching("memory://bucket/run")
    watcher.look()
    assert not taken

    def away(*_, **__):
        raise OSError("the line is dead")

    monkeypatch.setattr(type(store), "find", away)
    clock.now += watch.SILENT + 1
    watcher.look()
    assert watcher.late and not taken


@pytest.mark.parametrize("is_far", [False, True], ids=["folder", "address"])
def test_another_training_at_the_same_place_and_step_is_taken(tmp_path, store, is_far, monkeypatch):
    first, state = make_workdir(tmp_path / "run")
    place = "memory://bucket/again" if is_far else str(first)
    monkeypatch.setattr(watch, "_folder", lambda path: None)  # a new folder often gets a removed one's inode

    def put():
        if is_far:  # replaces what is there
            store.rm("/bucket", recursive=True)
            store.put(str(first), "/bucket/again", recursive=True)

    store.makedirs("/bucket", exist_ok=True)
    put()
    watcher, taken = watching(place)
    watcher.look()
    assert not taken
    shutil.rmtree(first)
    make_workdir(first, steps=())
    save(first, 1, state._replace(params=jax.tree.map(lambda x: 2 * x, state.params)))
    put()
    for _ in range(2):
        watcher.look()
    assert taken == [1]
    save(first, 2, state)
    put()
    watcher.look()
    assert taken == [1, 2]


def programs(recommender):
    """The numbers of histories that can be answered without compiling."""
    return {key[2][0] for key in recommender.engine._compiled if key[0] == "best"}


def test_a_new_checkpoint_has_the_programs_of_the_one_before_however_full_the_tables_are(tmp_path, monkeypatch):
    monkeypatch.setattr(stock, "ROOM", 16)
    path, state = make_workdir(tmp_path / "run")
    keeping = Stocking(tmp_path / "changes.jsonl")
    now = watch.load(path, "latest", False, 10, 4, stocked=keeping.onto)
    watch.compile_all(now, 10, 4)
    rows, compiled = now.engine.items, {**now.engine._compiled}
    save(path, 2, state._replace(params=jax.tree.map(lambda x: -x, state.params)))
    for number in range(rows - ITEMS):  # until the tables are full
        now = keeping.changed(now, [NewItem(1000 + number, [3])], [])
        other = watch.renew(now, 2, 10, 4, stocked=keeping.onto)
        assert other.engine.items == rows and other.step == 2
        assert all(other.engine._compiled[key] is compiled[key] for key in compiled)
    now = keeping.changed(now, [NewItem(1000 + rows, [3])], [])  # now the tables are longer
    other = watch.renew(watch.with_programs(now, other, 10, 4), 2, 10, 4, stocked=keeping.onto)
    assert other.engine.items > rows and programs(other) >= {1, 2, 4}


def test_a_service_whose_items_are_all_retired_starts_again(tmp_path, caplog):
    path, _ = make_workdir(tmp_path / "run")
    keeping = Stocking(tmp_path / "changes.jsonl")
    keeping.changed(keeping.onto(jaxrec.load(path)), [], list(range(1, ITEMS + 1)))
    again = watch.load(path, "latest", False, 10, 2, stocked=keeping.onto)
    assert again.recommend([1]) == [] and "all items are retired" in caplog.text


@pytest.mark.parametrize(
    ("scores", "param", "said"),
    [
        ([3.0, 2.0, 2.0], 1.0, None),
        ([3.0, 2.0, 2.0], np.nan, "a parameter is not finite"),
        ([2.0, 3.0, 1.0], 1.0, "are not finite and falling"),
        ([np.inf, 2.0, 1.0], 1.0, "are not finite and falling"),
        ([3.0, 2.0], 1.0, "of 3 items it gives 2"),
    ],
)
def test_a_checkpoint_whose_answers_are_not_sound_is_refused(scores, param, said):
    engine = Namespace(params={"items": np.array([param])})
    answer = lambda queries: [list(zip("abc", scores, strict=False))]
    told = Namespace(step=3, catalogue=Namespace(ids=np.array(list("abc"))), engine=engine, offered=np.ones(3, bool))
    told.answer = answer
    if said is None:
        watch.check(told)
        return
    with pytest.raises(UserError, match=f"step 3: .*{said}"):
        watch.check(told)


def test_a_training_on_other_data_is_loaded_anew(clock, seen, folder):
    """Even with the same configuration, as its catalogue is another."""
    values = read_checked(folder / workdir.CONFIG, "")
    write_checked(folder / workdir.CONFIG, values | {"data": values["data"] | {"fingerprint": "another"}})
    (folder / "checkpoints" / "2").mkdir()
    seen.watcher.look()
    assert seen.taken == [("anew", 2)] and not seen.refused
    (folder / "checkpoints" / "3").mkdir()
    clock.now += 1
    seen.watcher.look()
    assert seen.taken == [("anew", 2), 3]
