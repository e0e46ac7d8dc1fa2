"""Item features by command: warm and cold targets are evaluated apart, and items added later are served."""

import json

import numpy as np
import pytest
from workdirs import write_workdir

from jaxrec import cli
from jaxrec.data import reading
from jaxrec.inference.loading import load
from jaxrec.system.errors import UserError
from jaxrec.training.workdirs import workdir

ITEMS, GENRES = 40, "ABCD"
KEYS = {"features": "genre", "id_dropout": 0.2, "cold_items": 0.2}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a log, its items, and a workdir."""
    folder, random = tmp_path_factory.mktemp("features"), np.random.default_rng(0)
    rows = [f"u{user},i{item:02},{at}" for user in range(80) for at, item in enumerate(random.permutation(ITEMS)[:7])]
    (folder / "log.csv").write_text("user,item,time\n" + "\n".join(rows) + "\n")
    (folder / "items.csv").write_text(table(GENRES))
    write_workdir(folder / "run", folder / "log.csv", **KEYS)
    return folder


def table(genres):
    return "item_id,genre\n" + "\n".join(f"i{item:02},{genres[item % 4]}" for item in range(ITEMS)) + "\n"


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


def test_items_that_never_trained_are_recommended_by_what_they_are(trained):
    recommender = load(trained / "run")
    counts = recommender.catalogue.counts
    assert (counts == 0).sum() == ITEMS // 5
    vectors = recommender.engine.output_table[0]
    genre = np.arange(ITEMS) % 4
    for of in range(4):
        cold = vectors[(counts == 0) & (genre == of)]
        np.testing.assert_array_equal(cold, np.broadcast_to(cold[:1], cold.shape))
    ranked = [item for item, _ in recommender.recommend(["i00", "i05"], k=ITEMS - 2)]
    assert len(ranked) == ITEMS - 2
    assert recommender.renewed("best").recommend(["i00"], k=3) == recommender.recommend(["i00"], k=3)


def test_items_that_came_later_are_recommended_at_once(trained, capsys):
    """In the same way as items of the training without a history; for other items nothing changes."""
    new = trained / "new.csv"
    new.write_text(table("CDBA") + "n1,A\nn2,Q\n")  # known items are what they were in the training
    before, after = load(trained / "run"), load(trained / "run", items=str(new))
    assert after.catalogue.ids.tolist() == [*before.catalogue.ids.tolist(), "n1", "n2"]
    old, rows = (each.engine.output_table[0] for each in (before, after))
    np.testing.assert_array_equal(rows[:ITEMS], old)
    unmet = int(np.flatnonzero((before.catalogue.counts == 0) & (np.arange(ITEMS) % 4 == 0))[0])
    np.testing.assert_array_equal(rows[ITEMS], old[unmet])
    assert not rows[ITEMS + 1].any()  # of a genre that nobody has seen
    scores = [dict(each.recommend(["i01", "i02"], k=ITEMS)) for each in (before, after)]
    shared = scores[0].keys() & scores[1].keys()
    assert len(shared) >= ITEMS - 4 and all(scores[1][id] == pytest.approx(scores[0][id], abs=1e-5) for id in shared)
    assert after.recommend(["n1"], k=1) and "n1" in dict(after.recommend(["i01"], k=ITEMS + 1))
    again = after.renewed("latest")
    assert again.recommend(["n1"], k=3) and again.engine.items == ITEMS + 2
    asked = f"recommend --users all --workdir {trained / 'run'} --items {new} --output {trained / 'best.csv'} --k 41"
    assert cli.main(asked.split()) == 0 and ",n1," in (trained / "best.csv").read_text()


def test_a_training_goes_on_only_with_the_items_as_they_were(trained):
    stored = workdir.read(trained / "run")
    again = lambda: workdir.claim(
        trained / "run",
        stored.config,
        data := reading.read(str(trained / "log.csv")),
        stored.config.dataset,
        data.catalogue,
    )
    (trained / "items.csv").write_text(table("CDBA"))
    with pytest.raises(UserError, match="genre of the table of items is not what it was"):
        again()
    (trained / "items.csv").write_text(table(GENRES))


def test_a_column_that_is_not_there_is_named(trained, capsys):
    asked = ["train", "--config", "quickstart", "--config.features=colour", "--config.cold_items=0.2", "--workdir"]
    assert cli.main([*asked, str(trained / "other"), f"--config.dataset={trained / 'log.csv'}"]) == 2
    assert "items have no such column, there are genre" in " ".join(capsys.readouterr().err.split())
