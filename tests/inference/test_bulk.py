"""All users together get the same answers as each alone, whatever block, batch or bucket they fall into."""

from dataclasses import replace

import jax
import numpy as np
import polars as pl
import pytest
import recommenders
from hypothesis import given, settings, strategies as st
from jobs import Job
from some import some

from jaxrec.batches import context
from jaxrec.data.interactions import Types, from_sequences
from jaxrec.data.log import parts
from jaxrec.evaluation.histories import encoder, pack_histories
from jaxrec.inference import bulk
from jaxrec.kernels import placement, sizes
from jaxrec.system.errors import UserError

ITEMS = 60


def log_of(histories):
    """A log of these histories of item numbers, some of which the model does not know."""
    ids = [[f"i{number}" for number in history] for history in histories]
    return from_sequences(ids, [f"u{number}" for number in range(len(ids))])


@pytest.fixture(scope="module")
def own():
    return recommenders.recommender("sasrec", ITEMS)


histories = st.lists(st.lists(st.integers(0, ITEMS + 4), min_size=1, max_size=70), min_size=1, max_size=9)


@given(
    histories=histories,
    k=st.sampled_from([1, 7, ITEMS + 5]),
    exclude=st.booleans(),
    batch=st.sampled_from(
        [(2, 256, 1 << 24, 4096), (256, 48, 1 << 24, 4096), (256, 1 << 14, 128, 16), (8, 256, 64, 0)]
    ),
)
@settings(deadline=None, max_examples=6)
def test_each_user_is_answered_as_alone(own, histories, k, exclude, batch):
    log = log_of(histories)
    with pytest.MonkeyPatch.context() as patch:
        places = (bulk, "BATCH"), (sizes, "ANSWERED_SLOTS"), (bulk, "SEEN_SLOTS"), (bulk, "REPEATING")
        for place, value in zip(places, batch, strict=True):
            patch.setattr(*place, value)
        patch.setattr(bulk, "BLOCK", 4)
        frame = own.recommend_users(k=k, data=log, exclude_seen=exclude)
    for number, history in enumerate(histories):
        alone = own.recommend([f"i{item}" for item in history], k=k, exclude_seen=exclude)
        rows = frame.filter(frame["user"] == f"u{number}")
        assert rows["rank"].to_list() == list(range(1, len(alone) + 1))
        assert rows["item"].to_list() == [item for item, _ in alone]
        np.testing.assert_allclose(rows["score"], [score for _, score in alone], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("number", some([3, 8], 3))
def test_several_devices_answer_as_one_does(own, number, monkeypatch):
    random = np.random.default_rng(0)
    log = log_of([random.integers(0, ITEMS + 4, length).tolist() for length in random.integers(1, 15, 23)] + [[ITEMS]])
    monkeypatch.setattr(bulk, "BATCH", 2)
    monkeypatch.setattr(bulk, "BLOCK", 9)
    used = []
    put = placement.spread
    monkeypatch.setattr(placement, "spread", lambda *args: used.append(put(*args)) or used[-1])
    answers = []
    for devices in (jax.devices()[:1], jax.devices()[:number]):
        monkeypatch.setattr(placement, "local", lambda devices=devices: devices)
        used.clear()
        answers.append((own.recommend_users(k=5, data=log), own.user_vectors(log)))
        assert {each for tree in used for x in jax.tree.leaves(tree) for each in x.devices()} == set(devices)
    for one, several in zip(*answers, strict=True):
        assert one.equals(several), "bit for bit"


@pytest.mark.parametrize("number", [1, 3])
def test_processes_answer_every_user_once_and_as_one_does(own, number, monkeypatch):
    random = np.random.default_rng(0)
    log = log_of([random.integers(0, ITEMS + 4, length).tolist() for length in random.integers(1, 40, 23)] + [[ITEMS]])
    users, asked = np.arange(len(log.users))[::-1], (5, True)
    monkeypatch.setattr(bulk, "BATCH", 2)
    monkeypatch.setattr(bulk, "BLOCK", 9)
    batches = bulk.Bulk._batch
    made = []
    monkeypatch.setattr(bulk.Bulk, "_batch", lambda *args: made.append(1) or batches(*args))
    wanted, alone = pl.concat(own.bulk(log).recommend(users, *asked)), len(made)
    made.clear()
    together = lambda: pl.concat(own.bulk(log).recommend(users, *asked, together=True))
    for found in Job(number, monkeypatch).run(together):
        assert found.equals(wanted)
    assert len(made) == alone, "each batch is answered by one of them"


@pytest.mark.parametrize("name", some(["gru4rec", "bert4rec"], "gru4rec"))
def test_every_kind_of_model_answers_all_users(name):
    model = recommenders.recommender(name, ITEMS)
    log = log_of([[1, 2, 3], [5], [7, 8] * 20])
    frame = model.recommend_users(["u2", "u0"], k=3, data=log)
    assert frame["user"].to_list() == ["u2"] * 3 + ["u0"] * 3
    for user, history in {"u2": [7, 8] * 20, "u0": [1, 2, 3]}.items():
        alone = model.recommend([f"i{item}" for item in history], k=3)
        assert frame.filter(frame["user"] == user)["item"].to_list() == [item for item, _ in alone]
    with pytest.raises(UserError, match=r"users: 'x' is not a user of .*: leave it out"):
        model.recommend_users(["u0", "x"], data=log)


@pytest.mark.parametrize("name", some(["sasrec", "bert4rec"], "sasrec"))
def test_a_log_says_of_its_events_what_a_request_would(name):
    """The same all at once, alone, and in an evaluation; items that the model lacks add nothing to the context."""
    model = recommenders.recommender(name, ITEMS, context="gap,weight,session")
    random = np.random.default_rng(0)
    histories = [[1, 2, 3], *(random.integers(0, ITEMS + 9, length).tolist() for length in (19, 20, 33, 1))]
    log = log_of(histories)
    seconds = [np.sort(random.integers(0, 10**6, len(history))) for history in histories]
    weights = [random.integers(1, 6, len(history)).astype(np.float32) for history in histories]
    times = np.concatenate(seconds).astype(np.int64) * context.SECOND
    session = [random.integers(0, 2, len(history)) for history in histories]
    parted = parts(log.offsets, np.concatenate(session), np.array(["a", "b"]))
    log = replace(log, times=times, weights=np.concatenate(weights), sessions=parted)
    frame, vectors = model.recommend_users(k=4, data=log), model.user_vectors(log)
    for number, history in enumerate(histories):
        ids = [f"i{item}" for item in history]
        told = {"times": seconds[number].tolist(), "weights": weights[number].tolist(), "sessions": session[number]}
        alone = model.recommend(ids, k=4, **told)
        rows = frame.filter(frame["user"] == f"u{number}")
        assert rows["item"].to_list() == [item for item, _ in alone]
        np.testing.assert_allclose(rows["score"], [score for _, score in alone], rtol=1e-4)
        assert alone != model.recommend(ids, k=4)
    shown, device = context.numbers(context.of_log(log), model.engine.kinds), jax.devices()[:1]
    numbers = bulk.numbers_in(model.catalogue, log)[log.items]
    asked = numbers, log.offsets[:1], log.offsets[1:2], 20, 20, device, model.engine.num_mask_slots
    packed = pack_histories(*asked, context=shown)  # the first history, all of whose items are known
    hidden = encoder(model.engine.model, model.engine.objective, device)(model.engine.params, packed)
    np.testing.assert_allclose(hidden[0], vectors["vector"].to_numpy()[0], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", some(["sasrec", "bert4rec"], "sasrec"))
def test_types_and_switches_of_a_log_are_those_of_a_request(name):
    """Types are matched by name to those of the training, whatever their numbers in the log; topics, by the items."""
    model = recommenders.recommender(name, ITEMS, context="type,switch", types=("cart", "view"))
    random = np.random.default_rng(0)
    histories = [[1, 2, 3], *(random.integers(0, ITEMS + 9, length).tolist() for length in (19, 33, 1))]
    log, total = log_of(histories), sum(map(len, histories))
    names = ("", "buy", "cart", "view")
    numbers = random.integers(0, 4, total).astype(np.uint8)
    log = replace(log, types=Types(numbers, names[1:]))
    frame = model.recommend_users(k=4, data=log)
    for number, history in enumerate(histories):
        types = [names[each] or None for each in numbers[log.offsets[number] : log.offsets[number + 1]]]
        alone = model.recommend([f"i{item}" for item in history], k=4, types=types)
        rows = frame.filter(frame["user"] == f"u{number}")
        assert rows["item"].to_list() == [item for item, _ in alone]
        np.testing.assert_allclose(rows["score"], [score for _, score in alone], rtol=1e-4)
        assert alone != model.recommend([f"i{item}" for item in history], k=4)
        assert ("buy" in alone.unknown) == ("buy" in types)
    one = model.recommend(["i1", "i2"], types=["view", "cart"])
    together = model.recommend_batch([["i1", "i2"]] * 2, types=[["view", "cart"], None])
    assert [item for item, _ in together[0]] == [item for item, _ in one] != [item for item, _ in together[1]]
    assert model.influence(["i1", "i2"], ["i5"], types=["view", "cart"]).shape == (1, 2)


@pytest.mark.parametrize("name", some(["sasrec", "bert4rec"], "sasrec"))
def test_all_users_are_asked_at_once_as_alone(name):
    """Also for a user whose newest item the model lacks, and without a time of the request."""
    keys = {"context": "hour,asked_gap,asked_hour", "now": 1_700_000_000}
    timed = {"time_bias": True, "time_intervals": 5} if name == "sasrec" else {}
    model, now = recommenders.recommender(name, ITEMS, context=keys["context"], **timed), keys["now"]
    random = np.random.default_rng(0)
    histories = [random.integers(0, ITEMS, length).tolist() for length in (3, 25, 1)]
    histories[0][-1] = ITEMS + 3
    log = log_of(histories)
    seconds = [now - 10**6 + np.sort(random.integers(0, 10**6, len(history))) for history in histories]
    log = replace(log, times=np.concatenate(seconds) * context.SECOND)
    at, without = (model.recommend_users(k=4, data=log, now=when) for when in (now, None))
    assert at["score"].to_list() != without["score"].to_list()
    for number, history in enumerate(histories):
        ids, times = [f"i{item}" for item in history], seconds[number].tolist()
        for frame, when in ((at, now), (without, None)):
            alone = model.recommend(ids, k=4, times=times, now=when)
            np.testing.assert_allclose(
                frame.filter(frame["user"] == f"u{number}")["score"], [score for _, score in alone], rtol=1e-4
            )


def test_users_are_asked_after_their_newest_events_as_a_query_is():
    model, random = recommenders.recommender("sasrec", ITEMS, context="gap,asked_hour"), np.random.default_rng(0)
    log = log_of([[1, 2], [3], [4, 5]])
    log = replace(log, times=(1_700_000_000 + np.array([0, 5, 9, 0, 7])) * context.SECOND)
    for ask in (
        lambda: model.recommend_users(data=log, now=1_700_000_008),
        lambda: list(model.bulk(log, 8).hidden(random.permutation(3))),
    ):
        with pytest.raises(
            UserError, match=r"now: it is before the newest event of [13] of the 3 users, such as u.: give a time"
        ):
            ask()
    assert len(model.recommend_users(["u0", "u2"], k=1, data=log, now=1_700_000_008)) == 2
    assert len(model.recommend_users(k=1, data=log, now="2023-11-14T22:13:29Z")) == 3  # the time that the message names
    others = recommenders.recommender("sasrec", ITEMS, context="gap")
    assert len(others.recommend_users(k=1, data=log, now=8)) == 3, "they ignore it"


def test_what_a_log_does_not_say_is_unknown_and_said():
    model = recommenders.recommender("sasrec", ITEMS, context="gap,weight")
    with pytest.warns(UserWarning, match="lacks some of the context that the model uses: gap, weight"):
        frame = model.recommend_users(k=3, data=log_of([[1, 2, 3]]))
    assert frame["item"].to_list() == [item for item, _ in model.recommend(["i1", "i2", "i3"], k=3)]


def test_a_log_of_other_ids_is_said_and_nobody_is_no_error(own):
    with pytest.warns(UserWarning, match=r"the model knows none of its items: the log has shoe, and the training i0"):
        own.recommend_users(data=from_sequences([["shoe"]]))
    nobody, all_ = own.recommend_users([], data=log_of([[1]])), own.recommend_users(data=log_of([[1]]))
    assert nobody.schema == all_.schema and len(nobody) == 0


def test_vectors_of_users_score_items_as_the_model_does(own):
    log = log_of([[1, 2, 3], [ITEMS + 3], [7]])
    users, items = own.user_vectors(log), own.item_vectors()
    assert users["id"].to_list() == ["u0", "u2"]  # u1 has no known item
    scores = users["vector"].to_numpy() @ items["vector"].to_numpy().T
    best = own.recommend(["i1", "i2", "i3"], k=1, exclude_seen=False)[0]
    assert items["id"][int(scores[0].argmax())] == best[0] and scores[0].max() == pytest.approx(best[1], rel=1e-5)


@given(numbers=st.lists(st.integers(0, 99), min_size=1, max_size=20), texts=st.tuples(st.booleans(), st.booleans()))
@settings(deadline=None)
def test_an_id_is_the_same_item_as_an_integer_and_as_a_text(numbers, texts):
    made = [[f"{number}" if text else number for number in range(0, 99, 2)] for text in texts]
    catalogue = from_sequences([made[0]]).catalogue
    log = from_sequences([[f"{number}" if texts[1] else number for number in numbers]])
    found = bulk.numbers_in(catalogue, log)
    assert [str(catalogue.ids[number - 1]) for number in found[1:] if number] == [
        str(id) for id in log.catalogue.ids.tolist() if int(id) % 2 == 0
    ]
