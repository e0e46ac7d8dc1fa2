"""Laws of data.stores: an object store is read and written as if it were a folder."""

import json
import shutil
import zipfile
from pathlib import Path

import hub_server
import polars as pl
import prepared_folders
import pytest

from jaxrec import cli
from jaxrec.api import fitting, logs
from jaxrec.data import prepared, sources, stores
from jaxrec.system import objects
from jaxrec.system.errors import UserError

FRAME = pl.DataFrame({"user_id": [1, 1, 1, 2, 2, 3] * 5, "item_id": list("abcabd") * 5, "timestamp": range(30)})


def write_folder(folder):
    for day in (1, 2):
        (folder / f"day={day}").mkdir(parents=True)
        FRAME.filter(pl.col("timestamp") % 2 == day - 1).write_parquet(folder / f"day={day}" / "part.parquet")
    (folder / "_SUCCESS").write_text("")
    pl.DataFrame({"item_id": ["a"], "title": ["A"]}).write_csv(folder / "items.csv")


def write_file(folder):
    folder.mkdir()
    FRAME.write_csv(folder / "log.csv")
    FRAME.write_csv(folder / "older.csv")
    pl.DataFrame({"item_id": ["b"], "title": ["B"]}).write_csv(folder / "items.csv")
    pl.DataFrame({"user_id": [3], "country": ["C"]}).write_csv(folder / "users.csv")


def write_zip(folder):
    folder.mkdir()
    with zipfile.ZipFile(folder / "log.zip", "w") as archive:
        archive.writestr("log.csv", FRAME.write_csv())


LOGS = {"folder": (write_folder, ""), "file": (write_file, "/log.csv"), "glob": (write_file, "/l*.csv")}
LOGS |= {"zip": (write_zip, "/log.zip")}


@pytest.mark.parametrize("kind", LOGS)
def test_a_log_is_read_as_if_it_lay_here(store, tmp_path, kind):
    write, below = LOGS[kind]
    write(tmp_path / "logs")
    store.put(str(tmp_path / "logs"), "/bucket/logs", recursive=True)
    said = []
    here = logs.prepare(f"{tmp_path / 'logs'}{below}")
    there = logs.prepare(f"memory://bucket/logs{below}", say=said.append)
    prepared_folders.same(here.interactions, there.interactions)
    assert here.fingerprint == there.fingerprint and there.interactions.name == f"memory://bucket/logs{below}"
    assert "fetched" in said[0] and (kind == "zip") == (there.interactions.catalogue.about is None)
    assert (kind in ("file", "glob")) == (there.interactions.user_columns is not None)
    assert sources.load(f"memory://bucket/logs{below}").items.tolist() == here.interactions.items.tolist()
    assert not sources.missing(there.dataset)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hugging Face hub with the data set hub_server.REPO, whose files are those of a folder."""
    package = pytest.importorskip("huggingface_hub", reason="no huggingface_hub: pip install 'jaxrec[stores]'")
    with hub_server.served(tmp_path / "hub") as server:
        at = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", at)
        files = f"{at}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", files)
        package.HfFileSystem.clear_instance_cache()
        yield server
    package.HfFileSystem.clear_instance_cache()


@pytest.mark.parametrize("kind", LOGS)
def test_a_log_of_the_hugging_face_hub_is_read_as_if_it_lay_here(hub, tmp_path, kind):
    write, below = LOGS[kind]
    write(hub.folder)
    said, address = [], f"hf://datasets/{hub_server.REPO}"
    here = logs.prepare(f"{hub.folder}{below}")
    there = logs.prepare(f"{address}{below}", say=said.append)
    prepared_folders.same(here.interactions, there.interactions)
    assert here.fingerprint == there.fingerprint and "fetched" in said[0]
    hub.asked.clear()
    assert sources.load(f"{address}{below}").items.tolist() == here.interactions.items.tolist()
    assert not [path for path in hub.asked if "/resolve/" in path], "fetched again"
    wrong = {f"{address}/nowhere.csv": "no such file", "hf://datasets/me/nobody": "no such file"}
    wrong |= {"hf://datasets/nobody": "no address in such a store", "hf://nobody": "no address in such a store"}
    for other, message in wrong.items():
        with pytest.raises(UserError, match=f"^{other}: {message}"):
            logs.prepare(other)


def test_a_page_in_place_of_a_store_is_not_taken_for_an_empty_place(store, monkeypatch):
    """Whether the file belongs to a Delta table must be certain, as the files of such a table hold removed rows too."""
    store.pipe("/bucket/logs/a.csv", FRAME.write_csv().encode())

    monkeypatch.setattr(type(store), "exists", lambda self, path, **kwargs: json.loads("<html>"))
    with pytest.raises(UserError, match=r"^memory://bucket/logs/a\.csv: cannot be reached"):
        logs.prepare("memory://bucket/logs/a.csv")


def test_only_what_has_changed_is_fetched_again(store, tmp_path):
    def fetched():
        said = []
        found = stores.fetch("memory://bucket/logs", tmp_path / "cache", said.append)
        return said[0].partition(": ")[2].partition(",")[0], {each.name: each.read_text() for each in found.iterdir()}

    store.pipe({"/bucket/logs/a.csv": b"1", "/bucket/logs/b.csv": b"2", "/bucket/logs/.hidden": b"3"})
    assert fetched() == ("fetched 2 files", {"a.csv": "1", "b.csv": "2"})
    assert fetched() == ("unchanged since it was fetched", {"a.csv": "1", "b.csv": "2"})
    store.pipe("/bucket/logs/b.csv", b"4")
    assert fetched() == ("fetched 1 files", {"a.csv": "1", "b.csv": "4"})
    store.rm("/bucket/logs/a.csv")
    assert fetched()[1] == {"b.csv": "4"}
    next((tmp_path / "cache").rglob("b.csv")).unlink()
    assert fetched() == ("fetched 1 files", {"b.csv": "4"})


def test_a_prepared_folder_goes_there_and_back(store, tmp_path):
    log = logs.prepare(FRAME, output="memory://bucket/out", items="")
    assert log.dataset == "memory://bucket/out" and "/bucket/out/meta.json" in store.find("/bucket")
    back = logs.prepare("memory://bucket/out")
    prepared_folders.same(log.interactions, back.interactions)
    assert log.fingerprint == back.fingerprint
    smaller = logs.prepare(FRAME.drop("timestamp"), output="memory://bucket/out")
    assert "/bucket/out/times.npy" not in store.find("/bucket/out"), "the earlier one is replaced"
    assert sources.load("memory://bucket/out").digest == smaller.fingerprint


def test_a_folder_that_was_cut_is_not_a_prepared_one(store, tmp_path, monkeypatch):
    logs.prepare(FRAME, output="memory://bucket/out")
    put = type(store).put_file

    def cut(self, here, there, *rest, **options):
        if there.endswith("users.parquet"):
            raise OSError("the line went dead")
        put(self, here, there, *rest, **options)

    monkeypatch.setattr(type(store), "put_file", cut)
    with pytest.raises(UserError, match=r"memory://bucket/out: cannot be reached \(the line went dead\)"):
        logs.prepare(FRAME, output="memory://bucket/out")
    monkeypatch.undo()
    assert "/bucket/out/items.npy" in store.find("/bucket") and "/bucket/out/meta.json" not in store.find("/bucket")
    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"a prepared folder whose meta\.json is missing"):
        sources.load("memory://bucket/out")


def test_what_is_not_there_or_not_ours_is_refused(store, tmp_path):
    store.pipe({"/bucket/a/x.csv": b"1", "/bucket/lake/_delta_log/0.json": b"{}", "/bucket/lake/x.parquet": b"1"})
    store.pipe("/bucket/lake/day=1/x.parquet", b"1")
    for address, why in {
        "memory://bucket/none": "no such file or folder",
        "memory://bucket/**/x.csv": r"\*\* is not supported",
        "memory://bucket/lake/x.parquet": "of a Delta table.*name the table's folder alone",
        "memory://bucket/lake/*.parquet": "of a Delta table",
        "memory://bucket/lake/day=1": "of a Delta table",
        "memory://bucket": "of a Delta table",
        "nostore://bucket/x": "no such store",
    }.items():
        with pytest.raises(UserError, match=why):
            logs.prepare(address)
    with pytest.raises(UserError, match="not empty, and not a prepared folder"):
        logs.prepare(FRAME, output="memory://bucket/a")
    logs.prepare(FRAME, output="memory://bucket/b")
    store.pipe("/bucket/b/notes.txt", b"mine")
    with pytest.raises(UserError, match=r"holds notes\.txt too"):
        logs.prepare(FRAME, output="memory://bucket/b")


def test_a_store_whose_package_is_missing_is_named(monkeypatch, store):
    def lacking(address):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", lacking)
    with pytest.raises(UserError, match="reaching it needs s3fs"):
        logs.prepare("s3://bucket/log.csv")


def test_no_folder_is_made_that_has_the_name_of_a_store(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for path in ("s3:/bucket/run", Path("s3://bucket/run")):
        with pytest.raises(UserError, match=r"a workdir lies on a disk of this machine.*give the address as text"):
            fitting.fit(FRAME, workdir=path)
    with pytest.raises(UserError, match="a prepared folder that is written this way lies on a disk"):
        logs.prepare(FRAME, output=Path("s3://bucket/out"))
    for command in (["train", "--workdir", "s3:/b/run"], ["serve", "--workdir", "gs:/b/run"]):
        assert cli.main(command) == 2 and "lies on a disk of this machine" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["x", "C:x", "a:/b", "synthetic:users=20", "s3:"])
def test_plain_names_are_no_addresses(name):
    from jaxrec.system.files import is_address

    assert not is_address(name)


def test_a_lone_file_is_told_of_where_its_store_only_names_it(store, monkeypatch):
    """adlfs is such a store."""
    store.pipe("/bucket/log.csv", b"user,item")
    monkeypatch.setattr(store, "find", lambda path, detail: [path])
    assert objects.find(store, "/bucket/log.csv")["/bucket/log.csv"]["size"] == 9


def test_a_store_without_credentials_is_no_unknown_one(monkeypatch):
    import fsspec

    def without(address):
        raise ValueError("unable to connect to account")

    monkeypatch.setattr(fsspec.core, "url_to_fs", without)
    with pytest.raises(UserError, match=r"az://a/b: cannot be reached .*: check the address, credentials and network"):
        objects.opened("az://a/b")
    with pytest.raises(UserError, match="ab://a/b: no such store"):
        objects.opened("ab://a/b")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["s3", "gs", "az"])
def test_a_log_and_a_prepared_folder_in_a_bucket(kind, request, tmp_path, capsys):
    address = request.getfixturevalue(kind)
    write_folder(tmp_path / "logs")
    store, _ = objects.opened(address)
    store.put(str(tmp_path / "logs"), f"{address}/logs", recursive=True)
    here = logs.prepare(tmp_path / "logs", output=tmp_path / "here")
    assert cli.main(["prepare", "--input", f"{address}/logs", "--output", f"{address}/out"]) == 0
    assert f"train on it: --config.dataset={address}/out" in capsys.readouterr().out
    assert json.loads(store.cat_file(f"{address}/out/meta.json"))["fingerprint"] == here.fingerprint
    prepared_folders.same(prepared.load(tmp_path / "here"), sources.load(f"{address}/out"))
    shutil.rmtree(tmp_path / "cache")
    assert sources.load(f"{address}/out").digest == here.fingerprint
    name = "day=1/part.parquet"
    alone = logs.prepare(f"{address}/logs/{name}", output=tmp_path / "alone")
    assert alone.fingerprint == logs.prepare(tmp_path / "logs" / name, output=tmp_path / "same").fingerprint
    with pytest.raises(UserError, match=rf"{kind}://none/x: (cannot be reached|no such file)"):
        logs.prepare(f"{kind}://none/x")
