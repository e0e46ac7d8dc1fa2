"""A workdir: damaged files are detected; one process holds it; and it follows no links to other places."""

import json
import os
import shutil

import numpy as np
import pytest
import recommenders
from hypothesis import given, strategies as st

from jaxrec.config.parsing import to_dict
from jaxrec.data.attributes.users import Users
from jaxrec.data.interactions import from_sequences
from jaxrec.system.errors import UserError
from jaxrec.system.files import MARK, write_checked
from jaxrec.training.workdirs import workdir

CONFIG = recommenders.config("sasrec")
DATA = from_sequences([["a", "b", "c"], ["b", "a"]])
USERS = Users(["ann", "bob"], np.array([True, False]))


@pytest.fixture(scope="module")
def claimed(tmp_path_factory):
    path = tmp_path_factory.mktemp("claimed")
    workdir.claim(path, CONFIG, DATA, "histories", users=USERS)
    return path


@given(st.data())
def test_another_bit_anywhere_is_noticed(claimed, tmp_path_factory, data):
    name = data.draw(st.sampled_from([workdir.CONFIG, workdir.CATALOGUE, workdir.USERS]))
    path = shutil.copytree(claimed, tmp_path_factory.mktemp("copy") / "w")
    content = bytearray((path / name).read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    (path / name).write_bytes(content)
    try:
        stored = workdir.read(path)
        items, users = workdir.catalogue(path, stored).ids.tolist(), workdir.users(path, stored).ids
    except UserError as error:
        assert str(path / name) in str(error)
    else:  # white space of the JSON
        assert name == workdir.CONFIG and stored == workdir.read(claimed)
        assert items == ["a", "b", "c"] and users == USERS.ids


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"config": {}}', "[" * 100_000, "null", '{"config": 1, "data": {}}']
)
def test_a_config_that_is_none_is_a_message(claimed, tmp_path, content):
    path = shutil.copytree(claimed, tmp_path / "w")
    (path / workdir.CONFIG).write_text(content)
    with pytest.raises(UserError, match=r"config\.json: damaged.*train into a new workdir"):
        workdir.read(path)


@pytest.mark.parametrize(("change", "done"), [(b"", False), (b"[]", False), (b'{"step": 3}', True), (None, True)])
def test_a_damaged_result_counts_for_nothing(tmp_path, change, done, caplog):
    assert not workdir.is_done(tmp_path) and not caplog.text
    write_checked(tmp_path / workdir.DONE, {"step": 4})
    if change is not None:
        (tmp_path / workdir.DONE).write_bytes(change)
    assert workdir.is_done(tmp_path) == done and ("done.json: damaged" in caplog.text) != done
    (tmp_path / workdir.DONE).write_text((tmp_path / workdir.DONE).read_text().replace("4", "5"))
    assert workdir.is_done(tmp_path) == (change == b'{"step": 3}')


def test_a_config_of_an_earlier_version_is_read(claimed, tmp_path):
    path = shutil.copytree(claimed, tmp_path / "w")
    stored = workdir.read(path)
    (path / workdir.CONFIG).write_text(json.dumps({"config": to_dict(stored.config), "data": stored.data}))
    assert workdir.read(path) == stored._replace(files={})
    assert workdir.catalogue(path, workdir.read(path)).ids.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("name", [workdir.CATALOGUE, workdir.USERS])
def test_what_is_damaged_beside_the_config_is_written_anew_by_training(claimed, tmp_path, caplog, name):
    path = shutil.copytree(claimed, tmp_path / "w")
    (path / "checkpoints" / "3").mkdir(parents=True)
    whole = (path / name).read_bytes()
    (path / name).write_bytes(whole[:-9])
    workdir.claim(path, CONFIG, DATA, "histories", users=USERS)
    assert (path / name).read_bytes() == whole and f"{name} was damaged" in caplog.text


@pytest.mark.parametrize(("name", "load"), [(workdir.CATALOGUE, workdir.catalogue), (workdir.USERS, workdir.users)])
def test_what_is_gone_beside_the_config_is_a_message(claimed, tmp_path, name, load):
    path = shutil.copytree(claimed, tmp_path / "w")
    (path / name).unlink()
    with pytest.raises(UserError, match=f"{name}: gone: the training's command, run again, writes it anew"):
        load(path, workdir.read(path))


def test_checkpoints_without_their_config_are_not_trained_on(tmp_path):
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    with pytest.raises(UserError, match=r"has checkpoints but no config\.json: put back a copy"):
        workdir.claim(tmp_path, CONFIG, DATA, "histories")


def test_a_planted_link_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in (workdir.LOCK, workdir.CONFIG, workdir.CATALOGUE, f"{workdir.CONFIG}.tmp", f"{MARK}0.tmp"):
        path = tmp_path / name.strip(".")
        path.mkdir()
        (path / name).symlink_to(victim)
        try:
            with workdir.locked(path):
                workdir.claim(path, CONFIG, DATA, "histories")
        except UserError as error:
            assert name == workdir.LOCK and "its .lock is a link" in str(error)
        assert victim.read_text() == "precious"


def test_one_process_holds_it_and_what_a_killed_one_left_is_removed(tmp_path):
    (tmp_path / f"{MARK}12.tmp").write_text("half")
    with workdir.locked(tmp_path):
        assert [each.name for each in tmp_path.iterdir()] == [workdir.LOCK]
        with pytest.raises(UserError, match="in use by another training"), workdir.locked(tmp_path):
            pass


@pytest.mark.parametrize("instead", [None, "folder"])
def test_a_workdir_that_was_moved_is_said_to_be(tmp_path, instead):
    path = tmp_path / "w"
    with workdir.locked(path) as held:
        held.check()
        path.rename(tmp_path / "elsewhere")
        if instead:
            path.mkdir()
        with pytest.raises(UserError, match="was moved or removed while it trained"):
            held.check()
        with pytest.raises(UserError, match="was moved or removed"), held.named():
            raise OSError(2, "No such file")


def test_who_holds_it_is_named(tmp_path):
    said = rf"in use by another training \(process {os.getpid()}\)"
    with workdir.locked(tmp_path), pytest.raises(UserError, match=said), workdir.locked(tmp_path):
        pass
