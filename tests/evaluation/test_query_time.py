"""Laws of the time of asking in evaluation: told only on request, and then as a request to a service tells it."""

import dataclasses
import io
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import recommenders
from rich.console import Console
from some import some
from workdirs import write_workdir

import jaxrec
from jaxrec import cli
from jaxrec.batches import context
from jaxrec.data import splits
from jaxrec.data.interactions import from_sequences
from jaxrec.evaluation import evaluator, results
from jaxrec.evaluation.answers import Answers
from jaxrec.evaluation.evaluator import Evaluator
from jaxrec.inference.queries import Query
from jaxrec.inference.recommender import Recommender
from jaxrec.system.errors import UserError
from jaxrec.training import wording
from jaxrec.training.building import model_of

SHOWN = "gap,hour,asked_gap,asked_hour"
HISTORIES = [[f"i{(7 * user + 3 * at) % 30}" for at in range(4 + 5 * (user % 3))] for user in range(12)]


def log_of(shift=0):
    """A log where each user's newest event is later by this many seconds."""
    log, random = from_sequences(HISTORIES), np.random.default_rng(0)
    times = np.concatenate([np.cumsum(random.integers(0, 10**5, n)) for n in np.diff(log.offsets)])
    times[log.offsets[1:] - 1] += shift
    return dataclasses.replace(log, times=times.astype(np.int64) * context.SECOND)


def asked(name, log, by="last-item"):
    """(the recommender with random params, its split, hidden vectors of the test without and with query time)."""
    timed = {"time_bias": True, "time_intervals": 5} if name == "sasrec" else {}
    config = dataclasses.replace(recommenders.config(name, length=8, context=SHOWN, **timed), split=by)
    split = splits.split(log, by, 0.5)
    model = model_of(config, split)
    params, hidden = recommenders.params(model), []
    for told in (False, True):
        judge = Evaluator(model, config, split, split.test, jax.devices()[:1], query_time=told)
        judge.ranks(params)
        hidden.append(judge.hidden)
    return Recommender(config, model, params, split.interactions.catalogue), split, *hidden


CASES = [("sasrec", "last-item"), ("bert4rec", "last-item"), ("gru4rec", "sessions")]


@pytest.mark.parametrize(("name", "by"), some(CASES, CASES[0]))
def test_a_question_is_what_a_request_would_be(name, by):
    rec, split, without, told = asked(name, log_of(), by)
    data, ids = split.interactions, split.interactions.catalogue.ids
    for question in range(0, len(split.test.target), 5):
        at = slice(split.test.start[question], split.test.stop[question])
        times, now = data.times[at] // context.SECOND, data.times[at.stop] // context.SECOND
        for when, hidden in ((None, without), (now, told)):
            query = rec.check(Query(ids[data.items[at] - 1], times=times.tolist(), now=when))
            alone = rec.engine.hidden([query.known], contexts=[query.context])[0]
            np.testing.assert_allclose(hidden[question], alone, atol=1e-5)
    assert not np.allclose(told, without, atol=1e-3)


@pytest.mark.parametrize("name", some(["sasrec", "bert4rec"], "sasrec"))
def test_untold_no_answer_depends_on_when_its_target_was(name):
    (_, _, without, told), (_, _, moved, elsewhere) = (asked(name, log_of(shift)) for shift in (0, 7200))
    np.testing.assert_array_equal(without, moved)
    assert not np.allclose(told, elsewhere, atol=1e-3)


def test_a_result_with_query_time_goes_by_another_name():
    split = splits.last_item(log_of())
    ranks = np.arange(len(split.test.target)) + 1
    told = {"split": split, "part": "test", "questions": split.test, "begun": 0.0, "best": lambda *_: ranks[:, None]}
    ranked = {"full": ranks, "full, seen kept": ranks + 1}
    plain, timed = (Answers(ranks=ranked, query_time=each, **told).result() for each in (False, True))
    assert timed["protocol"] == "full, with query time" and list(timed["also"]) == ["full, seen kept, with query time"]
    assert (plain["protocol"], list(plain["also"])) == ("full", ["full, seen kept"])
    assert timed["metrics"] == plain["metrics"]
    text = io.StringIO()
    beside = results.Evaluation("mine", timed, lambda: None, beside={"popularity": plain})
    beside.show(Console(file=text, width=120))
    shown = text.getvalue()
    assert shown.index("seen kept, with query time") < shown.index("full, with query time")
    assert "mine, with query time" in shown and "popularity, with" not in shown


@pytest.mark.parametrize("key", [False, True])
def test_a_validation_is_told_where_its_key_says_so(monkeypatch, key):
    told = []
    monkeypatch.setattr(evaluator, "Evaluator", lambda *_, query_time: told.append(query_time))
    monkeypatch.setattr(evaluator, "shapes", lambda setup: SimpleNamespace(evaluated=None))
    config = dataclasses.replace(recommenders.config("sasrec", context=SHOWN), valid_query_time=key, select_by="mrr")
    given = {"config": config, "split": splits.last_item(log_of())}
    evaluator.validation(SimpleNamespace(**given, model=None, devices=[], fsdp=None))
    assert told == [key]
    assert ("with query time" in wording.validation(config, {"hr@10": 0.1, "ndcg@10": 0.1, "mrr": 0.1})) == key


def test_baselines_are_told_nothing(tmp_path, capsys):
    (tmp_path / "log.csv").write_text("user,item,time\n" + "\n".join(f"1,{item},{item}" for item in range(1, 9)))
    asked = ["evaluate", "--baseline", "popularity", "--dataset", str(tmp_path / "log.csv"), "--query-time"]
    assert cli.main(asked) == 2
    assert "--query-time goes with --workdir" in capsys.readouterr().err
    with pytest.raises(UserError, match="a baseline is told no times"):
        jaxrec.evaluate("popularity", str(tmp_path / "log.csv"), query_time=True)


def test_a_model_that_is_not_shown_it_can_not_be_told(tmp_path):
    (tmp_path / "log.csv").write_text("user,item,time\n" + "\n".join(f"1,{item},{item}" for item in range(1, 9)))
    write_workdir(tmp_path / "run", tmp_path / "log.csv")
    with pytest.raises(UserError, match=r"and this one is not: train with config.context=asked_gap,asked_hour"):
        evaluator.evaluation(tmp_path / "run", query_time=True)
