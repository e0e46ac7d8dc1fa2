"""Types of events by command: evaluated on purchases only, beside baselines on the same; loading keeps the types."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from workdirs import write_workdir

import jaxrec
from jaxrec import cli
from jaxrec.data import event_types, prepared, splits
from jaxrec.inference.loading import load
from jaxrec.system.errors import UserError
from jaxrec.training import assembly
from jaxrec.training.workdirs import workdir

USERS, ITEMS = 50, 30
KEYS = {"context": "type,switch", "target_types": "purchase", "topic": "genre"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a log of views and purchases, its items, both prepared, and a workdir."""
    folder, random = tmp_path_factory.mktemp("types"), np.random.default_rng(0)
    rows = USERS * 9
    names = random.choice(["view", "view", "cart", "purchase"], rows)
    columns = {"user": np.repeat(np.arange(USERS), 9), "item": random.integers(0, ITEMS, rows), "time": np.arange(rows)}
    pl.DataFrame(columns | {"event": names}).write_csv(folder / "log.csv")
    write_items(folder, "ABC")
    asked = ["prepare", "--input", str(folder / "log.csv"), "--output", str(folder / "log"), "--type", "event"]
    assert cli.main(asked) == 0
    write_workdir(folder / "run", folder / "log", **KEYS)
    return folder


def write_items(folder, genres):
    about = {"item_id": range(ITEMS), "genre": [genres[item % 3] for item in range(ITEMS)]}
    pl.DataFrame(about).write_csv(folder / "items.csv")


def evaluated(folder, *words):
    assert cli.main(["evaluate", *words, "--json", str(folder / "found.json")]) == 0
    return json.loads((folder / "found.json").read_text())


def test_purchases_alone_are_asked_of_models_and_baselines(trained, capsys):
    ranks = trained / "ranks.parquet"
    found = evaluated(trained, "--workdir", str(trained / "run"), "--beyond-accuracy", "--ranks", str(ranks))
    said = capsys.readouterr().out
    assert "targets: purchase alone" in said and found["target_types"] == ["purchase"]
    log = event_types.asking(prepared.load(trained / "log"), "purchase")
    assert (
        pl.read_parquet(ranks)["target"].to_list() == log.catalogue.ids[splits.last_item(log).test.target - 1].tolist()
    )
    of = ["--baseline", "transitions", "--dataset", str(trained / "log")]
    other = evaluated(trained, *of, "--target-types", "purchase", "--beyond-accuracy")
    assert (other["users"], other["target_types"]) == (found["users"], ["purchase"])
    every = evaluated(trained, *of)
    assert every["users"] == USERS and "target_types" not in every
    switches = [
        each for each in found["beyond_accuracy"]["segments"] if each["by"].startswith("whether the target switches")
    ]
    assert [each["low"] for each in switches] == [0, 1] and sum(each["users"] for each in switches) == found["users"]
    assert "by whether the target switches topic" in said


def test_what_is_loaded_knows_the_types_by_their_names(trained):
    recommender = load(trained / "run")
    assert recommender._checker.types == ["cart", "purchase", "view"]
    tables = recommender.engine.params["context"]
    assert {name: len(table) for name, table in tables.items()} == {"type": 3, "switch": 2}
    assert recommender.recommend([1, 2], types=["view", "gift"]).unknown == ["gift"]
    log = prepared.load(trained / "log")
    frame = recommender.recommend_users([0], k=3, data=log)
    of = slice(*log.offsets[:2])
    types = [log.types.names[number - 1] for number in log.types.numbers[of]]
    alone = recommender.recommend(log.catalogue.ids[log.items[of] - 1].tolist(), k=3, types=types)
    assert frame["item"].to_list() == [item for item, _ in alone]


def test_topics_are_those_of_the_training(trained):
    """Even if the table of items has changed since; and a training isn't resumed with other topics."""
    config, data = workdir.read(trained / "run").config, prepared.load(trained / "log")
    other = data.catalogue._replace(about=pl.DataFrame({"genre": ["A"] * (ITEMS // 2) + ["B"] * (ITEMS // 2)}))
    with pytest.raises(UserError, match="items: genre of the table of items is not what it was"):
        workdir.claim(trained / "run", config, data, config.dataset, other)
    split = assembly.split_of(config, data)
    assert event_types.asked(split.interactions) == ("purchase",)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workdir", "run", "--target-types", "view"], "--target-types goes with --baseline"),
        (
            ["--baseline", "popularity", "--dataset", "log", "--target-types", "buy"],
            "--target-types asks for buy, a type",
        ),
        (["--baseline", "popularity", "--dataset", "log.csv", "--target-types", "buy"], "has no types of events"),
    ],
)
def test_what_can_not_be_asked_is_said(trained, words, said, capsys, monkeypatch):
    monkeypatch.chdir(trained)
    assert cli.main(["evaluate", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_front_door_is_asked_by_the_same_words(trained):
    log = jaxrec.prepare(pl.read_csv(trained / "log.csv"), type="event")
    found = jaxrec.evaluate("popularity", log, target_types="purchase, cart")
    assert found.result["target_types"] == ["cart", "purchase"] and "targets: cart, purchase alone" in repr(found)
    assert Path(trained / "log" / "types.npy").exists()
