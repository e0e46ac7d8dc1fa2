"""Training and the catalogue take a prepared log as it is."""

import json

import pytest
from visits import FIELDS, ROWS

import jaxrec
from jaxrec import cli
from jaxrec.data import prepared, sources
from jaxrec.data.interactions import fingerprint

SMALL = ["--config.model.dim=8", "--config.model.layers=1", "--config.batch=8", "--config.epochs=2"]


@pytest.mark.slow
def test_training_takes_the_folder_and_the_file_for_the_same_data(tmp_path, capsys):
    """A model trained on one can be evaluated on the other; ids are those of the file."""
    rows = [(user, f"00{item}", 1, when, visit) for user, item, _, when, visit in ROWS]
    names = {"visitor": "user_id", "thing": "item_id", "when": "timestamp"}
    path = tmp_path / "raw.csv"
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in [[names.get(f, f) for f in FIELDS], *rows]))
    folder = tmp_path / "folder"
    assert cli.main(["prepare", "--input", str(path), "--output", str(folder)]) == 0
    assert fingerprint(sources.load(str(path))) == fingerprint(sources.load(str(folder)))
    results = {}
    for name, data, other in (("a", path, folder), ("b", folder, path)):
        workdir, result = tmp_path / name, tmp_path / f"{name}.json"
        argv = ["train", "--config", "quickstart", "--workdir", str(workdir), f"--config.dataset={data}", *SMALL]
        assert cli.main(argv) == 0
        assert cli.main(["evaluate", "--workdir", str(workdir), "--dataset", str(other), "--json", str(result)]) == 0
        results[name] = json.loads(result.read_text())["metrics"]
        ranked = jaxrec.load(workdir).recommend([rows[0][1], rows[1][1]], k=3)
        assert len(ranked) == 3 and not ranked.unknown and {item for item, _ in ranked} <= {row[1] for row in rows}
    assert results["a"] == results["b"]
    capsys.readouterr()
    assert cli.main(["prepare", "--input", str(path), "--output", str(folder), "--max-length", "12"]) == 0
    assert cli.main(["evaluate", "--workdir", str(workdir)]) == 2
    assert "was trained on other data" in capsys.readouterr().err


def test_the_table_of_items_goes_into_the_folder_with_its_types(tmp_path, capsys):
    (tmp_path / "log.csv").write_text("user,sku,time\n1,5,1\n1,6,2\n2,6,3\n2,5,4\n")
    (tmp_path / "items.csv").write_text("sku,name,year,price\n5,Five,1994,9.5\n6,Six,,2.5\n")
    (tmp_path / "other.csv").write_text("item_id,name\n5,Cinq\n6,Six\n")
    run = lambda name, *flags: cli.main(
        ["prepare", "--input", str(tmp_path / "log.csv"), "--item", "sku", "--output", str(tmp_path / name), *flags]
    )
    assert [run("a"), run("b", "--items", ""), run("c", "--items", str(tmp_path / "other.csv"))] == [0, 0, 0]
    assert "name (text), year (integer), price (number)" in " ".join(capsys.readouterr().out.split())
    a, b, c = (prepared.load(tmp_path / name) for name in "abc")
    assert a.catalogue.about.rows() == [("Five", 1994, 9.5), ("Six", None, 2.5)] and a.catalogue.titles == [
        "Five",
        "Six",
    ]
    assert b.catalogue.about is None and c.catalogue.titles == ["Cinq", "Six"]
    assert a.digest == b.digest == c.digest
    assert json.loads((tmp_path / "c" / "meta.json").read_text())["items_table"] == str(tmp_path / "other.csv")
    assert run("d", "--items", str(tmp_path / "nowhere.csv")) == 2 and not (tmp_path / "d").exists()
    assert "no such file: name a table of items" in " ".join(capsys.readouterr().err.split())
    assert (
        cli.main(["prepare", "--input", "synthetic:users=9", "--items", "x.csv", "--output", str(tmp_path / "d")]) == 2
    )
