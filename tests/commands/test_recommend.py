"""The commands that write for many users: they write the answers of a Recommender, in a complete file."""

import json

import jax
import numpy as np
import polars as pl
import pytest
from some import some
from workdirs import write_workdir

import jaxrec
from jaxrec import cli
from jaxrec.inference import bulk, changes
from jaxrec.inference.changes import Change
from jaxrec.inference.stock import NewItem
from jaxrec.kernels import placement


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a log and a workdir."""
    folder = tmp_path_factory.mktemp("bulk")
    random = np.random.default_rng(0)
    rows = [f"u{user},i{item},{at}" for user in range(30) for at, item in enumerate(random.permutation(40)[:9])]
    (folder / "log.csv").write_text("user,item,time\n" + "\n".join(rows) + "\n")
    write_workdir(folder / "run", folder / "log.csv")
    return folder


@pytest.mark.parametrize("kind", some(["parquet", "csv"], "parquet"))
def test_all_users_are_written(trained, kind, tmp_path):
    out = tmp_path / f"all.{kind}"
    assert cli.main(["recommend", "--workdir", str(trained / "run"), "--users", "all", "--output", str(out)]) == 0
    found = pl.read_parquet(out) if kind == "parquet" else pl.read_csv(out)
    assert found.columns == ["user", "rank", "item", "score"]
    wanted = jaxrec.load(trained / "run").recommend_users(k=10)
    for column in ("user", "rank", "item"):
        assert found[column].to_list() == wanted[column].to_list()
    assert found["user"].n_unique() == 30 and [path.name for path in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize("kind", some(["parquet", "csv"], "csv"))
def test_several_devices_write_the_file_that_one_writes(trained, kind, tmp_path, monkeypatch):
    argv = ["recommend", "--workdir", str(trained / "run"), "--users", "all", "--k", "3", "--output"]
    for number in (1, 2):
        monkeypatch.setattr(placement, "local", lambda number=number: jax.devices()[:number])
        monkeypatch.setattr(bulk, "BATCH", 8)
        assert cli.main([*argv, str(tmp_path / f"{number}.{kind}")]) == 0
    assert (tmp_path / f"1.{kind}").read_bytes() == (tmp_path / f"2.{kind}").read_bytes()


def test_split_tables_write_the_file_that_whole_ones_write(trained, tmp_path):
    argv = ["recommend", "--workdir", str(trained / "run"), "--users", "all", "--k", "3", "--output"]
    assert cli.main([*argv, str(tmp_path / "whole.csv")]) == 0
    assert cli.main([*argv, str(tmp_path / "split.csv"), "--item-devices", "4"]) == 0
    whole, split = (pl.read_csv(tmp_path / f"{name}.csv") for name in ("whole", "split"))
    assert whole.drop("score").equals(split.drop("score"))
    np.testing.assert_allclose(whole["score"], split["score"], rtol=1e-5, atol=1e-6)


def test_some_users_and_the_histories_of_anybody(trained, tmp_path):
    (tmp_path / "users.txt").write_text("u7\nu3\n", "utf-8-sig")
    argv = ["recommend", "--workdir", str(trained / "run"), "--k", "2", "--output", str(tmp_path / "out.csv")]
    assert cli.main([*argv, "--users", str(tmp_path / "users.txt")]) == 0
    assert pl.read_csv(tmp_path / "out.csv")["user"].to_list() == ["u7", "u7", "u3", "u3"]
    rows = [{"user": 1, "item": f"i{item}", "time": item} for item in (4, 5)]
    (tmp_path / "new.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert cli.main([*argv, "--histories", str(tmp_path / "new.jsonl")]) == 0
    wanted = jaxrec.load(trained / "run").recommend(["i4", "i5"], k=2)
    assert pl.read_csv(tmp_path / "out.csv")["item"].to_list() == [item for item, _ in wanted]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_listed_id_ends_with_its_line_alone(end, tmp_path):
    """Not at other characters that may end lines: U+2028, a form feed, a next line."""
    ids = ["a\u2028b", "c\x0cd", " e\x85 ", "f"]
    rows = [{"user": id, "item": f"i{item}", "time": item} for at, id in enumerate(ids) for item in range(at, at + 5)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_workdir(tmp_path / "run", tmp_path / "log.jsonl")
    (tmp_path / "users.txt").write_bytes(f"{end.join(ids)}{end}{end}".encode())
    argv = ["recommend", "--workdir", str(tmp_path / "run"), "--users", str(tmp_path / "users.txt"), "--k", "1"]
    assert cli.main([*argv, "--output", str(tmp_path / "out.parquet")]) == 0
    assert pl.read_parquet(tmp_path / "out.parquet")["user"].unique(maintain_order=True).to_list() == ids


def test_with_a_services_file_items_come_and_go_as_there(trained, tmp_path):
    popular = [id for id, _ in jaxrec.load(trained / "run").recommend([], k=2)]
    added, retired = NewItem("new", like=[popular[0]]), [popular[1]]
    (tmp_path / "stock.jsonl").write_bytes(changes.line(Change([added], retired)))
    (tmp_path / "log.csv").write_text(f"user,item,time\na,{popular[0]},1\nb,nobody,1\n")
    argv = ["recommend", "--workdir", str(trained / "run"), "--histories", str(tmp_path / "log.csv"), "--k", "50"]
    given = "--stock", str(tmp_path / "stock.jsonl"), "--output", str(tmp_path / "out.csv")
    assert cli.main([*argv, *given]) == 0
    found = pl.read_csv(tmp_path / "out.csv")
    assert "new" in found.filter(user="a")["item"] and not {*retired} & {*found["item"]}
    rec = jaxrec.load(trained / "run", stock=tmp_path / "stock.jsonl")
    for user, history in (("a", [popular[0]]), ("b", ["nobody"])):  # "b" gets the most popular ones
        assert found.filter(user=user)["item"].to_list() == [id for id, _ in rec.recommend(history, k=50)]


@pytest.mark.parametrize("command", [["recommend", "--users", "all"], ["vectors"]])
def test_the_questions_of_a_training_are_those_of_its_data(trained, command, tmp_path, capsys):
    """Another log doesn't have them, and must not be split silently; whole histories may come from any log."""
    rows = [f"u{user},i{item},{item}" for user in range(9) for item in range(user, user + 5)]
    (tmp_path / "log.csv").write_text("user,item,time\n" + "\n".join(rows) + "\n")
    argv = [*command, "--workdir", str(trained / "run"), "--dataset", str(tmp_path / "log.csv"), "--output"]
    assert cli.main([*argv, str(tmp_path / "out.csv"), "--split", "test"]) == 2
    assert "was trained on other data" in capsys.readouterr().err and not (tmp_path / "out.csv").exists()
    assert cli.main([*argv, str(tmp_path / "out.csv")]) == 0


def test_vectors_are_written_with_their_ids(trained, tmp_path):
    argv = ["vectors", "--workdir", str(trained / "run"), "--output", str(tmp_path / "vectors")]
    assert cli.main(argv) == 0
    items, users = (pl.read_parquet(tmp_path / "vectors" / f"{name}.parquet") for name in ("items", "users"))
    assert len(items) == 40 and items["vector"].to_numpy().shape == (40, 8)
    assert sorted(users["id"]) == sorted(f"u{user}" for user in range(30))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--users", "all", "--output", "out.xlsx"], "ends in .parquet or .csv"),
        (["--users", "gone.txt", "--output", "out.csv"], "gone.txt: can't be read"),
        (["--histories", "log.csv", "--dataset", "log.csv", "--output", "out.csv"], "--dataset goes with --users"),
        (["--histories", "log.csv", "--split", "test", "--output", "out.csv"], "--split goes with --users"),
        (["--users", "all", "--k", "0", "--output", "out.csv"], "k is 0: ask for at least one item"),
        (["--users", "all", "--item-devices", "3", "--output", "out.csv"], "there are 8 devices: it can be 1, 2, 4, 8"),
    ],
)
def test_mistakes_are_messages(trained, flags, said, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["recommend", "--workdir", str(trained / "run"), *flags]) == 2
    assert said in capsys.readouterr().err and not list(tmp_path.iterdir())
