"""A recipe with another model: the keys that suit it are set, the model learns with them, and given keys stay."""

import jax
import numpy as np
import pytest
from some import some

from jaxrec.config import parsing, recipes, registry
from jaxrec.data import interactions, sources, splits
from jaxrec.evaluation.baselines import scored
from jaxrec.evaluation.evaluator import Evaluator
from jaxrec.evaluation.metrics import metrics
from jaxrec.evaluation.ranker import lay_out, run
from jaxrec.system.errors import UserError
from jaxrec.training import auto, fit, setup as setups

SHIPPED = [path.stem for path in recipes.shipped()]
MODELS = registry.names("model")
LOG = sources.load("synthetic:users=60")


def resolved(recipe):
    return parsing.from_dict({"dataset": "any"} | auto.resolve(recipe.values, LOG)[0])


@pytest.mark.parametrize("name", SHIPPED)
def test_every_recipe_suits_every_model(name):
    plain = resolved(recipes.read(name, {}))
    for model in MODELS:
        recipe = recipes.read(name, {"model.name": model})
        made, suits = resolved(recipe), registry.find("model", model).suits
        assert made.model.name == model
        if model == plain.model.name:
            assert made == plain and not recipe.notes
            continue
        flat = parsing.flatten(parsing.to_dict(made))
        fixed = {key: value for key, value in suits.items() if value != auto.AUTO and key not in auto.RULES}
        assert fixed.items() <= flat.items()
        if name != "default":
            assert flat["optim.learning_rate"] == suits["optim.learning_rate"]
            assert (made.split, made.length, made.batch, made.epochs) == (
                plain.split, plain.length, plain.batch, plain.epochs,
            )  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
def test_default_takes_a_rate_for_any_model(model):
    made = resolved(recipes.read("default", {"model.name": model, "optim.learning_rate": "0.25"}))
    assert made.optim.learning_rate == 0.25
    assert made.optim.name == registry.find("model", model).suits["optim.name"]


@pytest.fixture(scope="module")
def ring():
    """The split of users who walk along a ring of 600 items, 1 to 4 at a time, and what baselines reach on it."""
    random = np.random.default_rng(0)
    steps = [np.append(random.integers(600), random.integers(1, 5, random.integers(3, 9))) for _ in range(2_000)]
    split = splits.last_item(interactions.from_sequences([(np.cumsum(each) % 600 + 1).tolist() for each in steps]))
    prepared = lay_out(split, split.valid)
    reached = {
        name: metrics(run(prepared, *scored(name, split, split.valid)))["ndcg@10"]
        for name in ("popularity", "transitions")
    }
    return split, reached


@pytest.mark.parametrize("model", some(MODELS, "two-tower"))
def test_default_suits_every_model(model, ring, tmp_path):
    """The training ends far above popularity, and above half of what the transitions of all users reach.

    A mean of the history, which ignores order, does too, and a rate or a dropout that keeps a model from learning does
    not: two-tower and caser stay below a twentieth with a rate of 1e-3 and a dropout of .5. Eight epochs are enough
    but for a cloze, which takes those that `default` gives it.
    """
    split, reached = ring
    cloze = registry.find("model", model).suits["objective"] == "cloze"
    values = recipes.read("default", {"model.name": model} | ({} if cloze else {"epochs": "8"})).values
    config = parsing.from_dict({"dataset": "any"} | auto.resolve(values, split.interactions)[0])
    setup = setups.setup(config, split, jax.devices()[:1])
    evaluator = Evaluator(setup.model, config, split, split.valid, setup.devices)
    best = fit.fit(setup, tmp_path, lambda params: metrics(evaluator.ranks(params)))["best"]["score"]
    assert best > 0.5 * reached["transitions"] > 10 * reached["popularity"]


def test_what_is_given_stays():
    given = {
        "model.name": "gru4rec",
        "optim.learning_rate": "0.25",
        "model.dropout": "0.75",
        "model.embedding": "separate",
    }
    made = resolved(recipes.read("sasrec_softmax_ml1m", given))
    assert (made.optim.learning_rate, made.model.dropout, made.model.embedding) == (0.25, 0.75, "separate")
    assert made.optim.name == "adam" and made.model.layers == 1


def test_what_a_recipe_says_of_the_moments_stays_where_its_rate_is_auto():
    values = recipes.read("default", {"optim.b2": "0.75"}).values
    assert recipes.changed(values, {"model.name": "gru4rec"}, "mine").values["optim"]["b2"] == 0.75
    values["optim"]["learning_rate"] = 0.25
    assert "b2" not in recipes.changed(values, {"model.name": "gru4rec"}, "mine").values["optim"]


def test_the_notes_name_each_key_that_is_changed_beside_those_given():
    (note,) = recipes.read("sasrec_softmax_ml1m", {"model.name": "gru4rec"}).notes
    assert note.startswith("the recipe is sasrec's: for gru4rec ")
    assert all(f"{key}=" in note for key in ("model.layers", "optim.learning_rate", "model.input_dropout"))
    assert not any(f"{key}=" in note for key in ("model.name", "stream", "objective", "model.dim", "length"))


def test_a_model_that_names_nothing_changes_nothing():
    own = "examples.own_model:MODEL"
    assert not registry.find("model", own).suits
    plain, changed = (recipes.read("quickstart", given) for given in ({}, {"model.name": own}))
    assert changed.values["model"].pop("name") == own and plain.values["model"].pop("name") == "sasrec"
    assert changed.values == plain.values and not changed.notes


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"epohcs": 3}, "did you mean config.epochs?"),
        ({"model": {"name": "sasrec", "hedas": 2}}, "did you mean config.model.heads?"),
        ({"model": "caser"}, "config.model is 'caser': it is a group of keys"),
        ({"model": {"dim": 8}}, "config.model.name is missing"),
        ({"model": {"name": "caser", "heads": 2}}, "config.model.heads is for"),
        ({"model": {"name": "caser"}, "loss": {"name": "bce", "gbce_t": 0.5}}, "config.loss.gbce_t is for gbce"),
        ({"optim": {"rates": 1}}, "config.optim.rates: no such key"),
    ],
)
def test_a_key_that_there_is_not_is_found_before_a_log_is_read(values, said):
    with pytest.raises(parsing.UserError, match=said.replace("?", r"\\?")):
        parsing.check_keys(values)
    parsing.check_keys(recipes.read("default", {}).values)


LOSSES = registry.names("loss")


@pytest.mark.parametrize("name", SHIPPED)
def test_every_recipe_takes_every_loss(name):
    """A loss by its name alone: it draws negatives as the recipe's own loss does, or else as suits it."""
    plain = parsing.flatten(parsing.to_dict(resolved(recipes.read(name, {}))))
    was = recipes.read(name, {}).values["loss"]
    for loss in LOSSES:
        recipe, entry = recipes.read(name, {"loss.name": loss, "optim.sparse": "False"}), registry.find("loss", loss)
        made = parsing.flatten(parsing.to_dict(resolved(recipe)))
        assert made["loss.name"] == loss
        noted = [note for note in recipe.notes if note.startswith(f"for {loss} ")]
        if loss == was["name"]:
            assert made | {"optim.sparse": plain["optim.sparse"]} == plain and not noted
            continue
        kept = {key: was[key] for key in ("negatives", "sampling", "share") if key in was} if entry.sampled else {}
        as_suits = entry.sampled and (not kept or (loss == "gbce" and "uniform" not in was.get("sampling", "uniform")))
        wanted = entry.suits if as_suits else kept
        assert {f"loss.{key}": value for key, value in wanted.items()}.items() <= made.items()
        assert len(noted) == as_suits
        assert all(f"loss.{key}={value}" in noted[0] for key, value in (entry.suits if noted else {}).items())


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if registry.find("loss", loss).sampled])
def test_what_is_given_of_a_loss_stays(loss):
    made = resolved(recipes.read("default", {"loss.name": loss, "loss.negatives": "7", "loss.sampling": "uniform"}))
    assert (made.loss.negatives, made.loss.sampling, made.loss.share) == (7, "uniform", "slot")
    few = resolved(recipes.read("default", {"loss.name": loss, "loss.negatives": "7"}))
    assert few.loss.negatives == 7


def test_what_is_given_of_a_loss_and_does_not_go_together_is_named():
    with pytest.raises(UserError, match=r"config\.loss\.negatives is missing"):
        resolved(recipes.read("default", {"loss.name": "bpr-max", "loss.sampling": "uniform", "loss.alpha": "0.1"}))
