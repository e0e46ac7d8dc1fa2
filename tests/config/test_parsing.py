"""Every mistake in a configuration is reported with its key and a cure."""

import copy

import pytest

from jaxrec.config import parsing as configs
from jaxrec.system.errors import UserError

GOOD = {
    "dataset": "synthetic",
    "seed": 0,
    "epochs": 2,
    "batch": 8,
    "length": 10,
    "eval_every": 1,
    "patience": 0,
    "model": {"name": "sasrec", "dim": 8, "layers": 1, "dropout": 0.1},
    "loss": {"name": "bce", "negatives": 1},
    "optim": {"name": "adam", "learning_rate": 1e-3},
}
ADAGRAD = {"name": "adagrad", "learning_rate": 0.1}
UNIFORM = {"name": "sampled-softmax", "negatives": 9, "sampling": "uniform"}


def changed(key, value):
    values = copy.deepcopy(GOOD)
    *groups, last = key.split(".")
    inner = values
    for group in groups:
        inner = inner[group]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return values


def test_to_dict_and_back_is_the_same():
    config = configs.from_dict(GOOD)
    assert configs.from_dict(configs.to_dict(config)) == config


def test_an_integer_may_stand_for_a_number_and_for_a_name():
    config = configs.from_dict(GOOD)
    assert type(config.eval_every) is float and type(config.epochs) is int
    assert configs.from_dict(GOOD | {"dataset": 1000}).dataset == "1000"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("modle", {}, "did you mean config.model?"),
        ("model.dims", 8, "did you mean config.model.dim?"),
        ("optim.zzz", 8, "the keys are name, learning_rate"),
        ("epochs", None, "config.epochs is missing"),
        ("loss.negatives", None, "config.loss.negatives is missing"),
        ("id_dropout", 0.2, "config.id_dropout is for config.features: name columns"),
        ("features_only", True, "config.features_only is for config.features: name columns"),
        ("cold_items", 1.0, "config.cold_items is 1.0: it must be at least 0 and below 1"),
        ("epochs", 1.5, "config.epochs is 1.5, of type float: it must be of type int"),
        ("epochs", True, "must be of type int"),
        ("epochs", 2**31, "config.epochs is 2147483648: at most 2,147,483,647"),
        ("optim.warmup", 2**31, "config.optim.warmup is 2147483648: at most"),
        pytest.param("model.dim", 10**5000, "config.model.dim is an integer of many digits: at most", id="digits"),
        ("epochs", 0, "config.epochs is 0: it must be above 0 and finite"),
        ("model", "sasrec", "it is a group of keys"),
        ("model.name", "sasrek", "no model 'sasrek': choose one of "),
        ("model.heads", 3, "config.model.heads 3 does not divide config.model.dim 8"),
        ("model.dropout", 1.0, "below 1"),
        ("positions", "end", "choose one of from_start, from_end"),
        ("split", "by-user", "no split 'by-user': choose one of last-basket, last-item, sessions, by-time"),
        ("split_q", 1.0, "config.test_quantile is 1.0: it must be above 0 and below 1"),
        ("test_quantile", 0, "it must be above 0 and below 1"),
        ("valid", 1.0, "config.valid_fraction is 1.0: it must be at least 0 and below 1"),
        ("valid_fraction", -0.1, "it must be at least 0 and below 1"),
        ("valid", 0.2, "config.valid_fraction is for config.split=sessions: leave it out for last-item"),
        ("split_q", 0.8, "config.test_quantile is for config.split=by-time or sessions: leave it out for last-item"),
        ("mask", 0.9, "config.mask_prob is for config.objective=cloze: leave it out for next-item"),
        ("mask_last", 0.9, "config.mask_last_prob is for config.objective=cloze"),
        ("model.window", 7, "config.model.window is for caser: leave it out for sasrec"),
        ("model.users", True, "config.model.users is for caser: leave it out for sasrec"),
        ("model.transform", False, "config.model.transform is for bert4rec"),
        ("model.input_dropout", 0.5, "config.model.input_dropout is for gru4rec"),
        (
            "model",
            GOOD["model"] | {"name": "gru4rec", "heads": 2},
            "is for bert4rec, hstu and sasrec: leave it out for gru4",
        ),
        ("overlap", 3, "config.overlap is for config.history=windows"),
        ("overlap", 10, "config.overlap is 10, and a window has 10 items: set it below config.length"),
        ("row", 9, "config.row 9 is shorter than config.length 10"),
        ("patience", -1, "must be at least 0"),
        ("seed", 2**32, "must be at least 0 and below 2^32"),
        ("row", -1, "must be at least 0"),
        ("rows_at_once", -1, "must be at least 0"),
        ("eval_every", float("inf"), "above 0 and finite"),
        ("optim.clip", -1.0, "must be at least 0"),
        ("optim.b2", 1.0, "config.optim.b2 is 1.0: it must be at least 0 and below 1"),
        ("optim", ADAGRAD | {"weight_decay": 0.1}, "config.optim.weight_decay is for adam and adamw: leave it 0"),
        ("optim.decayed", "matrices", "config.optim.decayed is for config.optim.weight_decay"),
        (
            "optim",
            GOOD["optim"] | {"weight_decay": 0.1, "sparse": True},
            "config.optim.weight_decay decays all of them: leave it 0",
        ),
        ("optim.ema", 1.0, "below 1"),
        ("optim.plateau", 3, "config.optim.plateau is for config.optim.schedule=plateau"),
        ("optim.schedule", "plateau", "set config.optim.plateau, the number of evaluations without"),
        ("optim", GOOD["optim"] | {"ema": 0.9, "sparse": True}, "config.optim.ema averages all of them: leave one out"),
        ("loss.negatives", 0, "at least 1 for bce"),
        (
            "loss.name",
            "softmax",
            "config.loss.negatives is for bce, bpr, bpr-max, gbce, sampled-softmax and top1-max: leave",
        ),
        ("loss.t", 0.5, "config.loss.gbce_t is for gbce: leave it out for bce"),
        ("loss.elu", 0.5, "config.loss.elu is for bpr-max"),
        ("loss", UNIFORM | {"scale": 0}, "config.loss.scale is 0.0: it must be above 0"),
        ("loss.logq", 1.0, "config.loss.logq is for sampled-softmax"),
        ("loss.alpha", 0.5, "config.loss.alpha is for loss.sampling=popularity or mixed"),
        ("loss.share", "batch", "Set config.loss.sampling=uniform, or share=slot"),
        ("loss.sampling", "mixed", "set config.loss.share=batch"),
        ("loss.sampling", "in-batch", "config.loss.negatives must be 0 for loss.sampling=in-batch"),
        ("loss", {"name": "softmax", "negatives": 0, "share": "batch"}, "config.loss.share is for bce, bpr, bpr-max, "),
        ("loss", {"name": "gbce", "negatives": 9, "t": 1.5}, "config.loss.gbce_t is 1.5: it must be from 0"),
        ("loss", {"name": "bpr-max", "negatives": 9, "bpreg": -1}, "config.loss.bpreg is -1.0: it must be at least 0"),
        ("loss", {"name": "gbce", "negatives": 9, "sampling": "popularity"}, "gbce is calibrated for uniform"),
        ("loss", {"name": "sampled-softmax", "negatives": 9, "logq": 1}, "set config.loss.sampling=uniform"),
        (
            "loss",
            {
                "name": "sampled-softmax",
                "negatives": 9,
                "logq": 1,
                "sampling": "uniform",
                "remove_accidental_hits": False,
            },
            "set config.loss.remove_accidental_hits=True",
        ),
        ("loss.logq_counts", "events", "config.loss.logq_counts is for sampled-softmax: leave it out for bce"),
        (
            "loss",
            {"name": "sampled-softmax", "negatives": 9, "logq": 1, "sampling": "popularity", "logq_counts": "events"},
            "config.loss.logq_counts is for loss.logq with loss.sampling=in-batch or mixed: leave it out",
        ),
        ("seen", "forget", "config.seen is 'forget': choose one of exclude, keep"),
        (
            "stream",
            "session-parallel",
            "sasrec carries no state from step to step (gru4rec does): set",
        ),
        (
            "model",
            GOOD["model"] | {"name": "gru4rec", "input_dropout": 1.0},
            "input_dropout is 1.0: it must be",
        ),
        ("optim.momentum", 0.5, "config.optim.momentum is for adagrad"),
        ("optim.momentum", 1.0, "config.optim.momentum is 1.0: it must be at least 0 and below 1"),
        ("optim.learning_rate", -1.0, "config.optim.learning_rate is -1.0: it must be above 0 and finite"),
        ("optim.eps", 0.0, "config.optim.eps is 0.0: it must be above 0 and finite"),
        ("optim.eps", 1e-60, "config.optim.eps is 1e-60: as a float32 it is 0.0"),
        ("optim.learning_rate", 1e39, "config.optim.learning_rate is 1e+39: as a float32 it is inf"),
        ("optim.clip", float("inf"), "config.optim.clip is inf: it must be at least 0 and finite"),
        ("optim.clip", 1e-300, "config.optim.clip is 1e-300: as a float32 it is 0.0"),
        ("loss.alpha", 1e300, "config.loss.alpha is 1e+300: as a float32 it is inf"),
        ("loss.negatives", 10**10, "config.loss.negatives is 10000000000: at most 2,147,483,647"),
        ("num_future_targets", 10**6, "config.num_future_targets is 1000000, and a history has"),
        (
            "model",
            GOOD["model"] | {"name": "caser", "layers": 1, "window": 10**6},
            "config.model.window is 1000000, and a history has",
        ),
        ("optim.weight_decay", float("nan"), "config.optim.weight_decay is nan"),
        ("model.dropout", 0.9999999999, "config.model.dropout is 0.9999999999: as a float32 it is 1"),
        ("optim.b2", 0.9999999999, "config.optim.b2 is 0.9999999999: as a float32 it is 1"),
        (
            "optim",
            {"name": "adagrad", "learning_rate": 0.1, "b1": 0.5},
            "config.optim.b1 is for adam and adamw: leave it out",
        ),
        (
            "optim",
            {"name": "adagrad", "learning_rate": 0.1, "b2": 0.5},
            "config.optim.b2 is for adam and adamw: leave it out",
        ),
        ("model", GOOD["model"] | {"name": "caser", "layers": 7}, "config.model.layers is 7: caser has one layer"),
        (
            "loss.remove_accidental_hits",
            "keep",
            "uniform-unseen draws none: leave it out, or set",
        ),
    ],
)
def test_mistakes_name_the_key_and_the_cure(key, value, said):
    with pytest.raises(UserError) as error:
        configs.from_dict(changed(key, value))
    assert said in str(error.value)


PLATEAU = {"optim.schedule": "plateau", "optim.plateau": 3}


@pytest.mark.parametrize(
    ("key", "last", "beyond", "beside"),
    [
        ("row", 10, 9, {}),
        ("num_future_targets", 10, 11, {}),
        ("overlap", 9, 10, {"history": "windows"}),
        ("patience", 4, 3, PLATEAU),
        ("epochs", 2**31 - 1, 2**31, {}),
        ("seed", 2**32 - 1, 2**32, {}),
    ],
)
def test_what_is_taken_ends_where_it_says(key, last, beyond, beside):
    values = configs.flatten(GOOD) | beside
    assert getattr(configs.from_dict(configs.nested(values | {key: last})), key) == last
    with pytest.raises(UserError, match=rf"config\.{key}"):
        configs.from_dict(configs.nested(values | {key: beyond}))


def test_positions_are_of_models_that_have_them():
    with pytest.raises(UserError, match="gru4rec has no positions; leave it from_start"):
        configs.from_dict(changed("model.name", "gru4rec") | {"positions": "relative"})
    assert configs.from_dict(changed("positions", "relative")).positions == "relative"


def test_the_next_few_items_are_asked_of_packed_histories_alone():
    values = changed("num_future_targets", 3)
    assert configs.from_dict(values).num_future_targets == 3
    with pytest.raises(UserError, match=r"config\.num_future_targets is for config\.stream=packed: leave it out"):
        configs.from_dict(values | {"stream": "session-parallel", "model": GOOD["model"] | {"name": "gru4rec"}})
    cloze = {"objective": "cloze", "model": GOOD["model"] | {"name": "bert4rec", "norm": "post"}}
    with pytest.raises(UserError, match=r"config\.num_future_targets is for config\.objective=next-item"):
        configs.from_dict(values | cloze)


def test_an_answer_of_a_cloze_takes_a_slot():
    cloze = {"objective": "cloze", "model": GOOD["model"] | {"name": "bert4rec", "norm": "post"}}
    assert configs.from_dict(changed("length", 2) | cloze).length == 2
    with pytest.raises(UserError, match=r"config\.length is 1: a prediction of bert4rec takes a slot"):
        configs.from_dict(changed("length", 1) | cloze)


def test_row_sparse_updates_are_refused_where_every_row_moves():
    """By weight decay, or by a loss over all items."""
    sparse = changed("optim.sparse", True)
    configs.from_dict(sparse)
    with pytest.raises(UserError, match="adamw decays all of them: take adam or adagrad"):
        configs.from_dict(sparse | {"optim": sparse["optim"] | {"name": "adamw"}})
    with pytest.raises(UserError, match="softmax updates every row of the table"):
        configs.from_dict(sparse | {"loss": {"name": "softmax", "negatives": 0}})


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, "ndcg@10"),
        ({"split": "by-time"}, "ndcg@10"),
        ({"split": "sessions"}, "mrr@20"),
        ({"split": "sessions", "select_by": "recall@20"}, "recall@20"),
        ({"select_by": "hr@1"}, "hr@1"),
        ({"split": "sessions", "valid": 0}, ""),
    ],
)
def test_the_metric_that_chooses_follows_the_split(changes, wanted):
    config = configs.from_dict(GOOD | changes)
    assert config.select_by == wanted
    assert configs.from_dict(configs.to_dict(config)) == config


def test_what_users_have_is_not_left_out_of_a_loss_where_the_host_holds_the_log():
    left_out = GOOD | {"loss": {"name": "softmax", "seen": "exclude"}}
    assert configs.from_dict(left_out).loss.seen == "exclude"
    with pytest.raises(UserError, match=r"set config\.loss\.seen=keep, or config\.feed=device"):
        configs.from_dict(left_out | {"feed": "host"})


def test_a_metric_is_refused_where_nothing_validates():
    with pytest.raises(UserError, match=r"select_by is mrr@20, and with config\.valid_fraction=0 there is no"):
        configs.from_dict(GOOD | {"split": "sessions", "valid_fraction": 0, "select_by": "mrr@20"})


def test_what_was_stored_before_a_key_has_what_was_done_then():
    """Earlier trainings selected by NDCG@10 with every split, and corrected in-batch negatives by counts of events."""
    in_batch = {"name": "sampled-softmax", "negatives": 0, "sampling": "in-batch", "share": "batch", "logq": 1.0}
    assert configs.from_stored(GOOD | {"split": "sessions"}).select_by == "ndcg@10"
    assert configs.from_stored(GOOD | {"split": "sessions", "valid_fraction": 0.0}).select_by == ""
    assert configs.from_stored(GOOD) == configs.from_dict(GOOD)
    assert configs.from_stored(GOOD | {"loss": in_batch}).loss.logq_counts == "events"
    assert configs.from_dict(GOOD | {"loss": in_batch}).loss.logq_counts == "targets"
    for values in (GOOD | {"loss": in_batch}, GOOD | {"split": "sessions", "select_by": "hr@1", "seen": "keep"}):
        config = configs.from_dict(values)
        assert configs.from_stored(configs.to_dict(config)) == config
