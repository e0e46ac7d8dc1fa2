"""Laws of mirror: at any moment, the store holds a workdir from which a training can be resumed."""

import json
import os
import shutil
import threading
from pathlib import Path

import pytest
from memory_stores import Cut, filled
from trainings import Killed, assert_same, outcome

from jaxrec.system import objects
from jaxrec.system.errors import UserError
from jaxrec.training import fit
from jaxrec.training.workdirs import checkpoint, fetching, lease, mirror, snapshots, workdir

ADDRESS = "memory://bucket/runs/a"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for module, name, value in (
        (lease, "RENEW", 0.1),
        (lease, "STALE", 0.4),
        (mirror, "EVERY", 0.02),
        (mirror, "LAST", (0.01,)),
    ):
        monkeypatch.setattr(module, name, value)


def elsewhere(monkeypatch, tmp_path, name):
    """From now on uses the cache of another machine."""
    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path / name))


def opened_as(monkeypatch, found):
    """From now on opens this store."""
    monkeypatch.setattr(objects, "opened", lambda address: (found, f"/{address.partition('://')[2]}"))


def train(prepared, **options):
    """Trains as a command does, at the address. Returns the copy's path."""
    setup, validate = prepared
    with mirror.locked(ADDRESS) as held, held.named():
        workdir.claim(held.path, setup.config, setup.split.interactions, "here")
        fit.fit(setup, held.path, validate, held=held, **options)
        return held.path


def written(folder):
    """[folder]: the states of a folder that is written like the workdir of a training."""
    found, rows = [], []
    for step, kept in ((30, {30}), (60, {30, 60}), (90, {60, 90}), (120, {60, 120}), (150, {150})):
        state = folder / str(step)
        rows.append(json.dumps({"step": step}))
        content = {"config.json": "{}", "catalogue.parquet": "items", "metrics.jsonl": "\n".join([*rows, ""])}
        for each in kept:
            names = "_CHECKPOINT_METADATA", "params/d/1", "params/_METADATA", "loop/metadata", snapshots.SEAL
            content |= {f"checkpoints/{each}/{name}": f"{each}: {name}" for name in names}
        for name, text in content.items():
            (state / name).parent.mkdir(parents=True, exist_ok=True)
            (state / name).write_text(text)
        found.append(state)
    (found[-1] / "done.json").write_text("{}")
    return found


@pytest.fixture
def states(request, tmp_path):
    """The workdir after each of its checkpoints: that of a real training if the test uses `prepare`."""
    if "prepare" not in request.fixturenames:
        return written(tmp_path / "states")
    setup, validate = request.getfixturevalue("prepare")()
    path, found = tmp_path / "run", []
    workdir.claim(path, setup.config, setup.split.interactions, "here")
    keep = lambda step, _: found.append(shutil.copytree(path, tmp_path / "states" / str(step)))
    fit.fit(setup, path, validate, on_checkpoint=keep)
    (found[-1] / "done.json").write_text("{}")
    return found


@pytest.fixture
def moments(store, states, monkeypatch):
    """[{name: content}] of the store after each change to it, while the states are sent one after another."""
    cut = Cut(store, states=[])
    with monkeypatch.context() as patch:
        patch.setattr(mirror, "EVERY", 1e9)
        opened_as(patch, cut)
        sent = []
        patch.setattr(
            mirror.Mirror, "begin", lambda self, same, begin=mirror.Mirror.begin: begin(self, sent.append(self))
        )
        with mirror.locked(ADDRESS) as held:
            for state in states:
                shutil.rmtree(held.path)
                shutil.copytree(state, held.path)
                sent[0].send()
    return cut.states


def check_moments(moments, states):
    """Checks that the store held a workdir with whole checkpoints at any moment."""
    whole = {}  # {step: {name: content} of its checkpoint}
    for state in states:
        for name in snapshots.signatures(state):
            if step := snapshots.step_of(name):
                whole.setdefault(step, {})[name] = (state / name).read_bytes()
    newest, kept = 0, (states[-1] / "metrics.jsonl").read_bytes().splitlines()
    for moment in moments:
        there = {name.removeprefix("/bucket/runs/a/"): content for name, content in moment.items()}
        names = snapshots.sendable(there)
        sealed = {step for name in names if (step := snapshots.step_of(name))} - snapshots.unsealed(names)
        for step in sealed:
            assert {name: there[name] for name in names if snapshots.step_of(name) == step} == whole[step]
        latest = max((int(step.rpartition("/")[2]) for step in sealed), default=0)
        assert latest >= newest, "a checkpoint is there from the first one on, and none is lost"
        newest = latest
        if sealed:
            assert {"config.json", "catalogue.parquet"} <= there.keys()
            of = lambda lines, latest=latest: [row for row in map(json.loads, lines) if row["step"] <= latest]
            assert of(there["metrics.jsonl"].splitlines()) == of(kept)
    assert "done.json" in there and sealed == {step for step in whole if (states[-1] / step).is_dir()}


def test_at_any_moment_the_store_holds_a_workdir_with_whole_checkpoints(moments, states):
    assert len(moments) > 50
    check_moments(moments, states)


def test_a_checkpoint_that_is_another_of_the_same_step_is_never_mixed_with_it(store, tmp_path, monkeypatch):
    """For example a checkpoint that was set aside and is made again."""
    cut, sent = Cut(store, states=[]), []
    opened_as(monkeypatch, cut)
    monkeypatch.setattr(mirror, "EVERY", 1e9)
    begin = mirror.Mirror.begin
    monkeypatch.setattr(mirror.Mirror, "begin", lambda self, same: begin(self, sent.append(self)))
    names = "params/a", "params/b", "loop/c", snapshots.SEAL
    with mirror.locked(ADDRESS) as held:
        for version in ("first", "second"):
            for name in names:
                file = held.path / "checkpoints" / "30" / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.unlink(missing_ok=True)
                file.write_text(version)
            sent[0].send()
    sealed = []
    for moment in cut.states:
        found = [moment.get(f"/bucket/runs/a/checkpoints/30/{name}") for name in names]
        if found[-1] is not None:
            assert len(set(found)) == 1
            sealed.append(found[-1])
    assert set(sealed) == {b"first", b"second"}


@pytest.mark.slow
def test_so_it_does_of_a_training(prepare, moments, states):
    assert len(moments) > 100
    check_moments(moments, states)


@pytest.mark.slow
@pytest.mark.parametrize("share", [at / 20 for at in range(1, 20)])
def test_cut_at_any_change_a_training_goes_on_from_it_bit_for_bit(
    prepare, uninterrupted, moments, store, tmp_path, monkeypatch, share
):
    filled(store, moments[round(share * len(moments))])
    opened_as(monkeypatch, store)
    elsewhere(monkeypatch, tmp_path, "other")
    assert_same(outcome(prepare(), train(prepare())), uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("left", range(0, 200, 15))
def test_a_machine_that_is_gone_is_replaced_by_another(prepare, uninterrupted, store, tmp_path, monkeypatch, left):
    opened_as(monkeypatch, cut := Cut(store, left))
    with pytest.raises(
        UserError, match=r"memory://bucket/runs/a: (the last changes of this training|cannot be reached)"
    ):
        train(prepare(), on_checkpoint=lambda *_: threading.Event().wait(0.1))
    assert cut.left == 0
    opened_as(monkeypatch, store)
    elsewhere(monkeypatch, tmp_path, "other")
    path = train(prepare())
    assert_same(outcome(prepare(), path), uninterrupted)
    copy = fetching.here(ADDRESS, "best")
    found = checkpoint.Checkpoints(copy, read_only=True)
    assert found.best() == uninterrupted[2]
    found.close()


@pytest.mark.slow
def test_what_could_not_be_sent_is_kept_and_sent_by_the_next(prepare, uninterrupted, store, tmp_path, monkeypatch):
    """On the same machine no step is taken twice."""
    opened_as(monkeypatch, Cut(store, 3))
    with pytest.raises(UserError, match="the same command, run again here, sends them or goes on"):
        train(prepare())
    opened_as(monkeypatch, store)
    monkeypatch.setattr(fit.Feed, "__call__", lambda *_: pytest.fail("trained again"))
    assert_same(outcome(prepare(), train(prepare())), uninterrupted)
    elsewhere(monkeypatch, tmp_path, "other")
    copy = fetching.here(ADDRESS, "latest", whole=True)
    assert_same(outcome(prepare(), copy), uninterrupted)


@pytest.mark.slow
def test_a_training_goes_on_while_the_store_is_away(prepare, uninterrupted, store, monkeypatch, caplog):
    opened_as(monkeypatch, cut := Cut(store))
    monkeypatch.setattr(mirror, "LONGEST", 0.1)

    def away(step, _):
        cut.left = None if step > 20 else 0
        threading.Event().wait(0.1)

    path = train(prepare(), on_checkpoint=away)
    assert "cannot be reached (the line is dead): training goes on" in caplog.text
    assert "can be reached again" in caplog.text
    assert_same(outcome(prepare(), path), uninterrupted)
    assert_same(outcome(prepare(), fetching.here(ADDRESS, "latest", whole=True)), uninterrupted)


def test_of_two_at_once_one_is_refused_by_name(store, tmp_path, monkeypatch):
    def refused(who):
        said = rf"^memory://bucket/runs/a is in use by another training \({who}"
        with pytest.raises(UserError, match=said), mirror.locked(ADDRESS):
            pass

    with mirror.locked(ADDRESS):
        refused(rf"process {os.getpid()}\)")
        elsewhere(monkeypatch, tmp_path, "other")
        refused(rf"process {os.getpid()} of ")


def test_who_was_replaced_stops_and_sends_nothing_more(store, tmp_path, monkeypatch):
    leases, acquire = [], lease.acquire
    monkeypatch.setattr(lease, "acquire", lambda *args: leases.append(acquire(*args)) or leases[-1])
    with pytest.raises(UserError, match="was taken over by another training"), mirror.locked(ADDRESS) as first:
        (first.path / "notes").write_text("first")
        ((held, _),) = leases
        held._ended.set()  # as if it were cut off
        held._thread.join()
        elsewhere(monkeypatch, tmp_path, "other")
        with mirror.locked(ADDRESS) as second:
            held._ended.clear()
            with pytest.raises(UserError, match="taken over"):
                held.renew()
            (first.path / "notes").write_text("first, later")
            (second.path / "notes").write_text("second")
            with pytest.raises(UserError, match="taken over"):
                first.check()
    assert store.cat_file("/bucket/runs/a/notes") == b"second"


def test_what_others_trained_replaces_the_copy_and_what_was_never_sent_is_kept_aside(
    store, tmp_path, monkeypatch, caplog
):
    here = os.environ["JAXREC_CACHE"]
    opened_as(monkeypatch, Cut(store, 2))
    with pytest.raises(UserError, match="could not be sent"), mirror.locked(ADDRESS) as first:
        (first.path / "mine").write_text("mine")
        (first.path / "mine too").write_text("mine")
        threading.Event().wait(0.1)
    opened_as(monkeypatch, store)
    elsewhere(monkeypatch, tmp_path, "other")
    with mirror.locked(ADDRESS) as second:
        (second.path / "theirs").write_text("theirs")
    monkeypatch.setenv("JAXREC_CACHE", here)
    with mirror.locked(ADDRESS) as third:
        assert (third.path / "theirs").read_text() == "theirs" and not (third.path / "mine too").exists()
    assert "are kept in" in caplog.text
    (aside,) = third.path.parents[1].glob("unsent-*")
    assert (aside / "mine too").read_text() == "mine"


def test_what_is_not_ours_stays(store):
    store.pipe("/bucket/runs/a/notes.txt", b"a person's")
    with mirror.locked(ADDRESS) as held:
        assert (held.path / "notes.txt").read_text() == "a person's"
    store.pipe("/bucket/runs/a/more.txt", b"a person's")
    with mirror.locked(ADDRESS) as held:
        (held.path / "notes.txt").unlink()
    assert store.exists("/bucket/runs/a/more.txt") and not store.exists("/bucket/runs/a/notes.txt")


def test_what_is_no_workdir_of_this_kind_is_refused(store):
    store.pipe("/bucket/runs/a/checkpoints/7/params/x", b"1")
    with pytest.raises(UserError, match=r"checkpoints/7 has no checksums\.json"), mirror.locked(ADDRESS):
        pass
    assert store.exists("/bucket/runs/a/checkpoints/7/params/x")
    for address in ("hf://me/run", "https://host/run"):
        with pytest.raises(UserError, match="workdirs can't be written there"), mirror.locked(address):
            pass


def test_a_path_is_locked_as_ever(tmp_path):
    with mirror.locked(tmp_path / "run") as held, pytest.raises(UserError, match="in use"):
        assert held.path == tmp_path / "run"
        with workdir.locked(tmp_path / "run"):
            pass


def write(folder, step):
    for name in ("params/a", snapshots.SEAL):
        (file := folder / "checkpoints" / str(step) / name).parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{step}: {name}")


def test_who_was_replaced_seals_no_checkpoint(store, tmp_path, monkeypatch):
    """Even if it has not renewed its lock since, so that it does not know yet."""
    monkeypatch.setattr(lease, "RENEW", 1e9)
    monkeypatch.setattr(mirror, "EVERY", 1e9)
    with pytest.raises(UserError, match="was taken over by another training"), mirror.locked(ADDRESS) as first:
        elsewhere(monkeypatch, tmp_path, "other")
        with mirror.locked(ADDRESS):
            pass
        write(first.path, 30)
    assert not store.exists(f"/bucket/runs/a/checkpoints/30/{snapshots.SEAL}")


def test_what_was_sent_in_the_last_moment_is_known_to_be_ours(store, monkeypatch):
    """The training is killed before it could record this; what replaces the checkpoint also does so in the store."""
    made, note, begin = [], mirror.write_json, mirror.Mirror.begin
    monkeypatch.setattr(mirror, "EVERY", 1e9)
    monkeypatch.setattr(mirror.Mirror, "begin", lambda self, same: begin(self, made.append(self)))

    def killed(file, values):
        if None not in values.values():
            raise Killed
        note(file, values)

    with mirror.locked(ADDRESS) as held:
        write(Path(held.path), 30)
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(mirror, "write_json", killed)
            made[0].send()
        assert store.exists(f"/bucket/runs/a/checkpoints/30/{snapshots.SEAL}")
        of = made[0]
        again = mirror.Mirror(of._address, of._store, of._root, of._home, of._held)
        begin(again, same=True)
        shutil.rmtree(Path(held.path) / "checkpoints" / "30")
        write(Path(held.path), 60)
        again.send()
        found = store.find("/bucket/runs/a/checkpoints")
        again.end()
        of._sent = again._sent
    assert found and all("/60/" in name for name in found)
