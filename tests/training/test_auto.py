"""`auto` gives, for any log, a valid configuration that depends only on given values and on counts of the log."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, strategies as st

from jaxrec.config import parsing, recipes, registry
from jaxrec.config.keys import AUTO
from jaxrec.data.interactions import Catalogue, Interactions, Sessions
from jaxrec.kernels import hardware
from jaxrec.system.errors import UserError
from jaxrec.training import auto

MODELS = registry.names("model")


def log_of(lengths, items, sessions=None, period=None):
    """Histories of these lengths, in which items come again after a period; by default after the whole catalogue."""
    total = sum(lengths)
    flat = np.arange(total, dtype=np.int32) % (period or items) + 1
    return Interactions(
        items=flat,
        offsets=np.append(0, np.cumsum(lengths)).astype(np.int64),
        users=np.arange(len(lengths)),
        catalogue=Catalogue(np.arange(items)),
        name="made",
        train_sessions=sessions,
    )


def resolve(log, **given):
    values, why = auto.resolve(recipes.read("default", given | {"dataset": "made"}).values, log)
    return parsing.from_dict(values), why


@given(
    lengths=st.lists(st.integers(0, 400), min_size=1, max_size=30),
    items=st.sampled_from([1, 30, 100_000, 100_001]),
    model=st.sampled_from(MODELS),
    dim=st.sampled_from([None, 1, 60, 200, 512]),
)
def test_any_log_and_model_have_a_configuration_that_holds(lengths, items, model, dim):
    log = log_of(lengths, items)
    given = {"model.name": model} | ({"model.dim": dim} if dim else {})
    made, why = resolve(log, **given)
    assert AUTO not in parsing.flatten(parsing.to_dict(made)).values()
    assert (made, why) == resolve(log, **given)
    assert made.model.dim == dim or dim is None
    assert made.batch in range(32, 513) and made.length in range(16, 65)
    assert (made.loss.name == "softmax") == (items <= auto.SOFTMAX_ITEMS)
    assert made.optim.sparse == (made.loss.name != "softmax")


@given(st.lists(st.integers(0, 400), min_size=1, max_size=30), st.integers(1, 500))
def test_a_configuration_without_auto_stays_as_it_is(lengths, length):
    values = recipes.read("sasrec_softmax_ml1m", {"length": length, "row": 0}).values
    assert auto.resolve(values, log_of(lengths, 9)) == (values, [])


def test_every_key_that_is_auto_is_told_with_a_reason():
    values = parsing.flatten(recipes.read("default", {}).values)
    told = "\n".join(resolve(log_of([9] * 40, 50))[1])
    assert all(f"{key}=" in told for key, value in values.items() if value == AUTO)
    assert all(": " in line for line in told.splitlines())


def test_given_keys_stay_and_others_follow_them():
    log = log_of([300] * 200, 50)
    made, why = resolve(log, length="200", **{"model.dim": "256"})
    assert (made.length, made.model.dim, made.model.layers, made.model.heads) == (200, 256, 3, 4)
    assert not any("length=" in line or "model.dim=" in line for line in why)
    assert made.history == "windows" and resolve(log, length="300")[0].history == "newest"


@pytest.mark.parametrize(
    "length, given, wanted",
    [
        (auto.LONG + 2, {}, "exclude"),
        (auto.LONG + 1, {}, "keep"),
        (300, {"seen": "keep"}, "keep"),
        (300, {"feed": "host"}, "keep"),
        (300, {"loss.fused": True}, "keep"),
        (300, {"loss.seen": "keep"}, "keep"),
        (20, {"loss.seen": "exclude"}, "exclude"),
    ],
)
def test_targets_of_long_histories_are_compared_to_what_ranking_ranks(length, given, wanted):
    """The two items for validation and test do not count; `exclude` is not chosen where it is not possible."""
    made, why = resolve(log_of([length] * 40, 400), **given)
    assert made.loss.seen == wanted
    assert any("loss.seen=exclude" in line for line in why) == (wanted == "exclude" and "loss.seen" not in given)


def test_the_items_of_sessions_whose_targets_may_be_any_item_are_all_compared():
    made, _ = resolve(log_of([300] * 40, 400, sessions=30))
    assert (made.split, made.loss.seen) == ("sessions", "keep")
    assert resolve(log_of([300] * 40, 400), split="by-time")[0].loss.seen == "exclude"


@pytest.mark.parametrize(
    "users, items, given, wanted",
    [
        (3_000, 5_000, {}, 12),
        (3_000, 500, {}, 24),
        (300, 500, {}, 24),  # epochs have few steps
        (3_000, 5_000, {"model.name": "bert4rec"}, 40),
        (3_000, 5_000, {"epochs": "30"}, 30),
    ],
)
def test_a_log_of_few_events_of_an_item_trains_a_wide_model_for_fewer_epochs(users, items, given, wanted):
    made, why = resolve(log_of([7] * users, items), **given)
    assert made.epochs == wanted
    assert (made.model.dim, made.optim.learning_rate) == (
        (256, 1e-3) if wanted in (12, 30) else (64, made.optim.learning_rate)
    )
    assert any("only 3.0 per item" in line for line in why) == (wanted == 12)


@pytest.mark.parametrize("items", [90, 9_000])
def test_a_cloze_has_more_steps_less_dropout_and_no_wider_a_model_than_was_measured(items):
    log = log_of([60] * 10_000, items)
    (made, _), (other, _) = resolve(log, **{"model.name": "bert4rec"}), resolve(log)
    assert 4 * made.batch == other.batch and made.epochs == 40
    assert (made.model.dim, other.model.dim, made.model.dropout) == (128, 256, 0.1)
    assert (made.model.norm, made.model.ffn) == (other.model.norm, other.model.ffn) == ("gated", "swiglu")
    assert made.optim.learning_rate == 1e-3 and made.objective == "cloze"


def test_sessions_and_repeats_choose_how_the_log_is_split_and_what_may_be_answered():
    assert resolve(log_of([5] * 20, 9))[0].split == "last-item"
    assert resolve(log_of([5] * 20, 9, sessions=15))[0].split == "sessions"
    assert resolve(log_of([5] * 20, 9))[0].seen == "exclude"
    assert resolve(log_of([5] * 20, 9, period=1))[0].seen == "keep"


def test_the_split_of_histories_that_may_be_anonymous_sessions_names_the_other_one():
    log = log_of([5] * 20, 9)
    dated = replace(log, times=np.arange(100))
    for each, alternative in (
        (log, False),  # without dates there is no other split
        (replace(dated, relative=True), False),
        (replace(dated, sessions=Sessions(log.offsets, log.users)), False),  # these are users, who have sessions
        (dated, True),
    ):
        made, why = resolve(each)
        (said,) = [line for line in why if line.startswith("split=last-item: ")]
        assert made.split == "last-item" and ("--config.split=sessions" in said) == alternative
        assert ("the users in training are the ones to be served" in said) != alternative


@given(period=st.integers(1, 9), users=st.integers(1, 30))
def test_items_that_come_again_but_not_at_once_are_scored_after_a_map(period, users):
    """Without the projection, an item would be most similar to itself; it is not chosen for other logs."""
    log = log_of([7] * users, 9, period=period)
    made, why = resolve(log)
    apart = made.seen == "keep" and period > 1
    assert made.seen == ("keep" if period < 7 else "exclude")
    assert made.model.embedding == ("projected" if apart else "shared")
    assert any("items come again, but only 0.0% of them immediately" in line for line in why) == apart
    assert resolve(log, **{"model.embedding": "shared"})[0].model.embedding == "shared"
    assert resolve(log, seen="exclude")[0].model.embedding == "shared"
    for name, value in ("hstu", made.model.embedding), ("rg-lru", made.model.embedding), ("gru4rec", "shared"):
        assert resolve(log, **{"model.name": name})[0].model.embedding == value


def test_columns_that_group_items_are_features_and_others_are_not():
    items = [f"{v}" for v in range(60)]
    about = {
        "title": [f"The {v}th" for v in items],
        "genres": ["War|Drama", "War", "Comedy"] * 20,
        "sold": list(range(30)) * 2,
        "label": [*["X"] * 20, *[None] * 40],
        "text": [[0.5, float(v)] for v in range(60)],
    }
    log = log_of([9] * 40, 60)
    described = replace(log, catalogue=Catalogue(log.catalogue.ids, pl.DataFrame(about)))
    made, why = resolve(described)
    assert (made.features, made.id_dropout) == ("genres,text", 0.1)
    assert "features=genres,text: columns of the table of items with values that items share" in why
    assert (resolve(log)[0].features, resolve(log)[0].id_dropout) == ("", 0.0)
    assert (resolve(described, features="")[0].features, resolve(described, features="")[0].id_dropout) == ("", 0.0)
    assert resolve(described, features="sold")[0].id_dropout == 0.1
    assert resolve(described, features_only=True)[0].id_dropout == 0.0


def test_an_own_model_leaves_out_what_it_has_no_key_for():
    made, _ = resolve(log_of([9] * 40, 50), **{"model.name": "examples.own_model:MODEL"})
    assert made.model.name == "examples.own_model:MODEL" and made.objective == "next-item"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"seed": AUTO}, "config.seed is auto, and no rule resolves it"),
        ({"loss.negatives": AUTO}, "config.loss.negatives is auto"),
        ({"model.name": AUTO}, "no model 'auto'"),
        ({"length": "0"}, "config.length is 0: it must be a whole number above 0, or auto"),
        ({"model.dim": "wide"}, "config.model.dim is 'wide'"),
    ],
)
def test_what_can_not_be_resolved_is_named(given, said):
    with pytest.raises(UserError, match=said):
        resolve(log_of([9] * 40, 50), **given)


@pytest.mark.parametrize("key", auto.NEEDED)
def test_what_rules_depend_on_must_be_there(key):
    values = parsing.flatten(recipes.read("default", {"dataset": "made"}).values)
    del values[key]
    with pytest.raises(UserError, match=f"config.{key} is missing, and other keys"):
        auto.resolve(parsing.nested(values), log_of([9] * 40, 50))


@pytest.mark.parametrize(
    "given",
    [{"loss.sampling": sampling} for sampling in auto.SAMPLINGS]
    + [{"loss.share": share} for share in ("slot", "row", "batch")]
    + [{"optim.ema": 0.9}, {"optim.weight_decay": 0.1}, {"optim.name": "adamw"}],
)
def test_what_a_person_sets_of_a_sampled_loss_goes_with_what_rules_choose(given):
    made, why = resolve(log_of([9] * 40, 100_001), **given)
    flat = parsing.flatten(parsing.to_dict(made))
    assert made.loss.name == auto.SAMPLED and all(flat[key] == value for key, value in given.items())
    (said,) = [line for line in why if "optim.sparse" in line]
    assert made.optim.sparse == ("optim" not in str(given))
    assert made.optim.sparse or any(word in said for word in ("adamw", *given))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_only_accelerators_round_and_only_models_that_lose_nothing_by_it(platform, model):
    with hardware.assumed(hardware.Hardware(platform)):
        made, why = resolve(log_of([9, 9], 9), **{"model.name": model})
        rounds = platform != "cpu" and model in auto.IN_BFLOAT16
        assert made.precision == ("bfloat16" if rounds else "float32")
        assert any(line.startswith(f"precision={made.precision}: ") for line in why)
        assert resolve(log_of([9, 9], 9), precision="float32")[0].precision == "float32"


def test_of_a_log_that_grows_the_batch_grows_and_the_model_never_shrinks():
    sizes = [resolve(log_of([12] * users, 50))[0] for users in (50, 3_000, 20_000, 60_000)]
    for smaller, larger in pairwise(sizes):
        assert smaller.batch <= larger.batch and smaller.model.dim <= larger.model.dim
        assert smaller.model.layers <= larger.model.layers


def test_histories_of_one_more_than_the_length_need_no_windows_and_no_other_length():
    """The reason is that the newest event is only a target. Two events of each history are for validation and test."""
    assert resolve(log_of([19] * 40, 50), length="16")[0].history == "newest"
    assert resolve(log_of([20] * 40, 50), length="16")[0].history == "windows"
    assert [resolve(log_of([events] * 40, 50))[0].length for events in (27, 28)] == [24, 32]


def test_one_history_in_a_hundred_may_be_longer_than_the_length():
    assert resolve(log_of([20] * 97 + [50] * 3, 50))[0].length == 48
    assert resolve(log_of([20] * 995 + [50] * 5, 50))[0].length == 24


def test_what_suits_a_model_of_ones_own_goes_before_what_was_measured(monkeypatch):
    own = replace(registry.find("model", "sasrec"), name="own", suits={"model.norm": "pre"})
    monkeypatch.setitem(registry._registered, ("model", "own"), own)
    made, _ = resolve(log_of([9] * 40, 50), **{"model.name": "own"})
    assert (made.model.norm, made.model.ffn) == ("pre", "swiglu")
