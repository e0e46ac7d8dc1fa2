"""A model with user vectors answers users by external id, as in its evaluation."""

import copy
import json
import shutil

import jax
import numpy as np
import pytest
import recommenders

import jaxrec
from jaxrec import cli
from jaxrec.config.parsing import to_dict
from jaxrec.data import sources, splits
from jaxrec.data.attributes.users import Users
from jaxrec.data.interactions import from_sequences
from jaxrec.evaluation import evaluator
from jaxrec.inference import export
from jaxrec.inference.queries import Query
from jaxrec.system.errors import UserError
from jaxrec.training.workdirs import workdir

TRAIN = [
    *("--config.model.dim=8", "--config.model.window=3", "--config.model.users=True", "--config.length=6"),
    *(
        "--config.row=6",
        "--config.batch=8",
        "--config.epochs=2",
        "--config.eval_every=2",
        "--config.optim.learning_rate=0.05",
    ),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(workdir, argv of its training, the data) of a Caser with user vectors; user u0 has one training item."""
    folder, random = tmp_path_factory.mktemp("users"), np.random.default_rng(0)
    data = folder / "sequences.txt"
    histories = [random.permutation(40)[: 3 if u == 0 else 9] for u in range(24)]
    data.write_text("".join(f"u{u} " + " ".join(f"i{v}" for v in items) + "\n" for u, items in enumerate(histories)))
    argv = ["train", "--config", "caser_ml1m", "--workdir", str(folder / "w"), f"--config.dataset={data}", *TRAIN]
    assert cli.main(argv) == 0
    return folder / "w", argv, data


def test_users_are_answered_as_they_are_evaluated(trained):
    """HR@k of recommendations with the user given equals that of the evaluation; without, that of new users."""
    path, _, data = trained
    stored, recommender = workdir.read(path), jaxrec.load(path)
    interactions = sources.load(str(data))
    split = splits.last_item(interactions)
    judge = evaluator.Evaluator(recommender.engine.model, stored.config, split, split.test, jax.devices()[:1])
    ranks = judge.ranks(recommender.engine.params)
    ids, users = interactions.catalogue.ids.tolist(), interactions.users.tolist()
    histories = [
        [ids[v - 1] for v in interactions.items[a:b]] for a, b in zip(split.test.start, split.test.stop, strict=True)
    ]
    whose = [users[u] for u in split.test.source]
    named = recommender.recommend_batch(histories, 40, users=whose)
    places = [
        [id for id, _ in ranked].index(ids[target - 1]) + 1
        for ranked, target in zip(named, split.test.target, strict=True)
    ]
    assert places == ranks.tolist()
    assert [ranked.unknown for ranked in named] == [["u0"]] + [[]] * 23  # u0 never trained, and counts as a new user
    nobody = recommender.recommend_batch(histories, 40)
    assert nobody[0] == named[0] and all(a != b for a, b in zip(nobody[1:], named[1:], strict=True))
    alone = recommender.recommend(histories[1], 40, user="u1")
    assert [id for id, _ in alone][:5] == [id for id, _ in named[1]][:5]
    one, other = (recommender.influence(histories[1], ["i1"], user=user) for user in ("u1", None))
    assert (one != other).any()


def test_a_workdir_that_did_not_keep_its_users_says_so_and_the_command_mends_it(trained, tmp_path):
    path, argv, _ = trained
    old = shutil.copytree(path, tmp_path / "old")
    (old / workdir.USERS).unlink()
    stored = workdir.read(path)
    (old / workdir.CONFIG).write_text(json.dumps({"config": to_dict(stored.config), "data": stored.data}))
    with pytest.warns(UserWarning, match=r"has user vectors, but no users\.parquet"):
        recommender = jaxrec.load(old)
    with pytest.raises(UserError, match="run its command again"):
        recommender.answer([Query(["i1"], user="u1")])
    assert cli.main([str(old) if word == str(path) else word for word in argv]) == 0
    assert jaxrec.load(old).recommend(["i1"], user="u1") == jaxrec.load(path).recommend(["i1"], user="u1")


def test_the_exported_program_takes_users(trained, tmp_path):
    recommender = jaxrec.load(trained[0])
    file = tmp_path / "model.bin"
    export.export(recommender, "stablehlo", file, 5, histories=64)
    about = json.loads((tmp_path / "model.bin.json").read_text())
    assert about["users"] == [None, *(f"u{u}" for u in range(1, 24))]
    run = export.from_stablehlo(file.read_bytes())
    history = np.zeros((2, about["length"]), np.int32)
    history[:, :2] = 1 + np.array([about["ids"].index("i3"), about["ids"].index("i4")])
    items, scores = run(history, np.ones((2, len(about["ids"])), bool), np.array([5, -1], np.int32))
    for row, user in enumerate(["u5", None]):
        wanted = recommender.recommend(["i3", "i4"], 5, exclude_seen=False, user=user)
        assert [about["ids"][v - 1] for v in np.asarray(items)[row]] == [id for id, _ in wanted]
        np.testing.assert_allclose(np.asarray(scores)[row], [score for _, score in wanted], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("ids", "given", "own"),
    [
        ([7, 8], "7", 7),
        ([7, 8], 7, 7),
        ([7, 8], "07", None),
        ([7, 8], "x", None),
        ([7], True, None),
        (["7"], 7, "7"),
        (["7"], "7", "7"),
        (["7"], True, None),
        pytest.param(["7"], 10**5000, None, id="digits"),
    ],
)
def test_an_id_is_the_users_whether_written_as_text_or_integer(tmp_path, ids, given, own):
    users = Users(ids, np.ones(len(ids), bool))
    assert users.own(given) == own and type(users.own(given)) is type(own)
    users.save(tmp_path / "users.parquet")
    read = Users.load(tmp_path / "users.parquet")
    assert read.ids == ids and read.numbers() == {id: row for row, id in enumerate(ids)}


def test_all_users_are_answered_by_the_params_of_now():
    before, histories = recommenders.recommender("gru4rec"), [["i1", "i2"], ["i3"]]
    log = from_sequences(histories)
    before.recommend_users("all", 5, log)
    now = copy.copy(before)
    now.engine = before.engine.renewed(jax.tree.map(lambda leaf: -leaf, before.engine.params))
    wanted = [id for history in histories for id, _ in now.recommend(history, 5)]
    assert now.recommend_users("all", 5, log)["item"].to_list() == wanted
    assert wanted != before.recommend_users("all", 5, log)["item"].to_list()
