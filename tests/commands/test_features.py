"""Item features by command: trained, evaluated warm and cold apart, served, gone on with; refused for other items."""

import json

import numpy as np
import pytest

from jaxrec import cli
from jaxrec.inference.loading import load

ITEMS, GENRES = 40, "ABCD"
TRAIN = "train --config quickstart --config.features=genre --config.id_dropout=0.2 --config.cold_items=0.2"
SMALL = "--config.epochs=2 --config.batch=16 --config.length=8 --config.row=8 --config.model.dim=8"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a log, its items, and a training."""
    folder, random = tmp_path_factory.mktemp("features"), np.random.default_rng(0)
    rows = [f"u{user},i{item:02},{at}" for user in range(80) for at, item in enumerate(random.permutation(ITEMS)[:7])]
    (folder / "log.csv").write_text("user,item,time\n" + "\n".join(rows) + "\n")
    (folder / "items.csv").write_text(table(GENRES))
    assert cli.main(train(folder)) == 0
    return folder


def table(genres):
    return "item_id,genre\n" + "\n".join(f"i{item:02},{genres[item % 4]}" for item in range(ITEMS)) + "\n"


def train(folder):
    return [*TRAIN.split(), *SMALL.split(), f"--config.dataset={folder / 'log.csv'}", "--workdir", str(folder / "run")]


def test_an_evaluation_tells_warm_and_cold_targets_apart(trained, capsys):
    (trained / "items.csv").write_text(table("CDBA"))  # the workdir keeps what its items were
    asked = ["evaluate", "--workdir", str(trained / "run"), "--json", str(trained / "found.json")]
    assert cli.main(asked) == 0
    said, found = capsys.readouterr().out, json.loads((trained / "found.json").read_text())
    (trained / "items.csv").write_text(table(GENRES))
    parts = found["apart"]
    assert parts["cold"]["users"] == found["cold_targets"] > 0
    assert parts["warm"]["users"] + parts["cold"]["users"] == found["users"]
    whole = sum(part["users"] * part["metrics"]["hr@10"] for part in parts.values()) / found["users"]
    assert whole == pytest.approx(found["metrics"]["hr@10"])
    assert f"cold: {parts['cold']['users']:,} targets" in said
    assert json.loads((trained / "run" / "done.json").read_text())["test"]["metrics"] == found["metrics"]


def test_items_that_never_trained_are_recommended_by_what_they_are(trained):
    recommender = load(trained / "run")
    counts = recommender.catalogue.counts
    assert (counts == 0).sum() == ITEMS // 5
    vectors = recommender.engine.output_table()[0]
    genre = np.arange(ITEMS) % 4
    for of in range(4):
        cold = vectors[(counts == 0) & (genre == of)]
        np.testing.assert_array_equal(cold, np.broadcast_to(cold[:1], cold.shape))
    ranked = [item for item, _ in recommender.recommend(["i00", "i05"], k=ITEMS - 2)]
    assert len(ranked) == ITEMS - 2
    assert recommender.renewed("best").recommend(["i00"], k=3) == recommender.recommend(["i00"], k=3)


def test_a_training_goes_on_only_with_the_items_as_they_were(trained, capsys):
    assert cli.main(train(trained)) == 0
    (trained / "items.csv").write_text(table("CDBA"))
    assert cli.main(train(trained)) == 2
    assert "genre of the table of items is not what it was" in capsys.readouterr().err
    (trained / "items.csv").write_text(table(GENRES))


def test_a_column_that_is_not_there_is_named(trained, capsys):
    asked = [each.replace("features=genre", "features=colour") for each in train(trained)]
    assert cli.main([*asked[:-1], str(trained / "other")]) == 2
    printed = capsys.readouterr()
    assert "items have no such column, there are genre" in " ".join((printed.out + printed.err).split())
