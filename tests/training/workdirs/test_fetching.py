"""Laws of jaxrec.training.workdirs.fetching: only what is asked for is copied from a store, and only once."""

import pytest
import workdirs
from memory_stores import Cut

from jaxrec.system import objects
from jaxrec.system.errors import UserError
from jaxrec.training.workdirs import checkpoint, fetching

ADDRESS = "memory://bucket/run"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("written")
    rows = [f"{user},{(user * 3 + at) % 7},{at}" for user in range(6) for at in range(5)]
    (tmp_path / "log.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]))
    workdirs.write_workdir(tmp_path / "run", tmp_path / "log.csv")
    return tmp_path / "run"


@pytest.fixture
def run(store, written):
    """The same workdir on the disk and in the store."""
    store.put(str(written), "/bucket/run", recursive=True)
    return written


def names(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_reader_gets_the_params_alone_and_init_from_everything(run, store):
    here, there = fetching.here, names(run)
    config, best = names(here(ADDRESS, None)), names(here(ADDRESS, "best"))
    assert not any("/params/" in name or "/rest/" in name for name in config)
    assert best.keys() - config.keys() == {name for name in there if "/params/" in name}
    whole = names(here(ADDRESS, 64, whole=True))
    assert whole == {name: content for name, content in there.items() if name != ".lock"}


def test_what_was_copied_is_not_copied_again_unless_it_changes(run, store, monkeypatch):
    first, copied = names(fetching.here(ADDRESS)), []

    class Counted(Cut):
        def get_file(self, name, *rest):
            copied.append(name)
            return store.get_file(name, *rest)

    monkeypatch.setattr(objects, "opened", lambda address: (Counted(store), "/bucket/run"))
    assert names(fetching.here(ADDRESS)) == first and not copied
    store.pipe("/bucket/run/done.json", b"{}")
    assert names(fetching.here(ADDRESS)) == first | {"done.json": b"{}"} and copied == ["/bucket/run/done.json"]


def test_a_checkpoint_without_its_seal_is_not_there(run, store):
    store.pipe(
        {f"/bucket/run/checkpoints/99/{name}": b"half" for name in ("params/x", "loop/x", "_CHECKPOINT_METADATA")}
    )
    copy = fetching.here(ADDRESS, "latest")
    assert [folder.name for folder in (copy / "checkpoints").iterdir()] == ["64"]
    with pytest.raises(UserError, match=r"memory://bucket/run/checkpoints has no checkpoint '99'"):
        fetching.here(ADDRESS, 99)


def test_a_checkpoint_that_is_replaced_while_it_is_copied(run, store, monkeypatch):
    """The workdir is listed again."""

    class Replacing(Cut):
        been = False

        def get_file(self, name, *rest):
            if "/params/" in name and not Replacing.been:
                Replacing.been = True
                store.cp("/bucket/run/checkpoints/64", "/bucket/run/checkpoints/65", recursive=True)
                store.rm("/bucket/run/checkpoints/64", recursive=True)
            return store.get_file(name, *rest)

    monkeypatch.setattr(objects, "opened", lambda address: (Replacing(store), "/bucket/run"))
    copy = fetching.here(ADDRESS, "latest")
    assert Replacing.been and [folder.name for folder in (copy / "checkpoints").iterdir()] == ["65"]


def test_what_is_not_there_is_named_by_its_address(run, store):
    with pytest.raises(UserError, match=r"memory://bucket/none is not a workdir of a training \(it has no config"):
        fetching.here("memory://bucket/none")
    with pytest.raises(UserError, match=r"memory://bucket is not a workdir.*; in it are run"):
        fetching.here("memory://bucket")
    store.rm("/bucket/run/checkpoints", recursive=True)
    with pytest.raises(UserError, match=r"memory://bucket/run/checkpoints holds no finished checkpoint"):
        fetching.here(ADDRESS)


def test_a_path_is_itself(tmp_path):
    assert fetching.here(tmp_path) == tmp_path and fetching.here("runs/a").name == "a"
    with pytest.raises(UserError, match="lies on a disk of this machine"):
        fetching.here("s3:/bucket/run")


def test_restored_params_are_those_of_the_folder(run, store):
    there = checkpoint.Checkpoints(run, read_only=True)
    copy = checkpoint.Checkpoints(fetching.here(ADDRESS), read_only=True)
    assert there.loop(64) == copy.loop(64) and there.rows(64) == copy.rows(64)
    for each in (there, copy):
        each.close()
