"""A training that begins with another one's params: what both trainings know is carried over by id."""

import argparse
from dataclasses import replace

import jax
import numpy as np
import optax
import polars as pl
import pytest
from hypothesis import given, strategies as st
from recommenders import config as config_of
from some import some
from trainings import Killed, assert_same, killed_at, outcome, run

from jaxrec.api import fitting
from jaxrec.api.logs import Log
from jaxrec.batches.stream import Stream
from jaxrec.commands import train
from jaxrec.config.keys import MeshConfig
from jaxrec.config.parsing import to_dict
from jaxrec.data import interactions, splits
from jaxrec.data.attributes.user_columns import Column
from jaxrec.data.attributes.users import Users
from jaxrec.data.interactions import Types, UserColumns
from jaxrec.kernels import processes
from jaxrec.models import likeness
from jaxrec.models.features import folded
from jaxrec.system.errors import UserError
from jaxrec.training import assembly, growing, setup as setups
from jaxrec.training.steps.step import State
from jaxrec.training.workdirs import checkpoint, fetching, workdir

BEFORE, AFTER = "abcdef", "AbXcdeZ"  # the items of the two logs; the second's ids sort differently
CASES = {
    "sasrec": {},
    "gru4rec": {"stream": "session-parallel"},
    "bert4rec": {},
    "two-tower": {},
    "rg-lru": {},
    "sasrec with features": {"features": "genre", "id_dropout": 0.1},
    "sasrec with context and an average": {"context": "weight"},
}


def log_of(ids, seed=0, users=40):
    random = np.random.default_rng(seed)
    histories = [[ids[i] for i in random.integers(0, len(ids), random.integers(4, 9))] for _ in range(users)]
    log = interactions.from_sequences(histories)
    genres = [f"{'xyz'[ord(id) % 3]}|{'pq'[ord(id) % 2]}" for id in log.catalogue.ids.tolist()]
    catalogue = log.catalogue._replace(about=pl.DataFrame({"genre": genres}))
    return replace(log, catalogue=catalogue, weights=random.integers(1, 4, len(log.items)).astype(np.float32))


def setup_of(case, log, devices=1, **changes):
    config = replace(config_of(case.split()[0], length=8), **CASES[case], **changes)
    if "average" in case:
        config = replace(config, optim=replace(config.optim, ema=0.9))
    return setups.setup(config, splits.last_item(log), jax.devices()[:devices])


def saved(path, setup, seed=3):
    """Makes a workdir with one checkpoint, of random params and moments. Returns its State."""
    random = np.random.default_rng(seed)
    noisy = lambda x: random.normal(size=x.shape).astype(x.dtype) if x.dtype == np.float32 else np.asarray(x) + 5
    state = jax.tree.map(noisy, jax.device_get(setups.initial(setup)))
    state = state._replace(opt=jax.tree.map(abs, state.opt))  # the moments include squares
    path.mkdir()
    counted = setup.split.interactions.catalogue.counted(splits.training_counts(setup.split))
    users = Users(setup.split.interactions.users.tolist(), np.ones(len(setup.split.interactions.users), bool))
    workdir.claim(path, setup.config, setup.split.interactions, "log", counted, users)
    checkpoints = checkpoint.Checkpoints(path)
    checkpoints.save(5, jax.device_put(state), {"step": 5, "rows": setup.batches.rows})
    checkpoints.close()
    return state


def scores(setup, params, history):
    """{id: score} of all items after a history of ids."""
    catalogue = setup.split.interactions.catalogue
    model, params = folded(setup.model, params)
    number = {id: n for n, id in enumerate(catalogue.ids.tolist(), 1)}
    items = np.array([[number[id] for id in history]], np.int32)
    ones = np.ones_like(items)
    stream = Stream(items, 0 * ones, ones, np.arange(len(history), dtype=np.int32)[None], 0 * ones)
    hidden = model.head(params, model.encode(params, stream)[0][:, -1])[0]
    table, bias = model.output_embedding(params)
    found = np.asarray(table @ hidden + (0 if bias is None else bias))
    return dict(zip(catalogue.ids.tolist(), found.tolist(), strict=True))


def moments(opt):
    return next(x for x in jax.tree.leaves(opt, is_leaf=lambda x: isinstance(x, growing.MOMENTS)) if hasattr(x, "mu"))


@pytest.mark.parametrize("case", some(CASES, "sasrec"))
def test_what_both_know_answers_and_moves_as_before(tmp_path, case):
    before = setup_of(case, log_of(BEFORE))
    old = saved(tmp_path / "old", before)
    now = setup_of(case, log_of(AFTER, seed=1), init_from=str(tmp_path / "old"))
    state: State = jax.device_get(assembly.first_state(now))
    assert state.step == 0
    then, there = (scores(*each, "bcdeb") for each in ((before, old.evaluated), (now, state.params)))
    assert sorted(there) == sorted(AFTER)
    np.testing.assert_allclose([there[id] for id in "bcde"], [then[id] for id in "bcde"], rtol=1e-5, atol=1e-5)
    row = lambda setup, id: setup.split.interactions.catalogue.ids.tolist().index(id)
    for tree, other in ((moments(state.opt).mu, moments(old.opt).mu), (moments(state.opt).nu, moments(old.opt).nu)):
        for name in now.model.item_tables:
            for id in "bcde":
                np.testing.assert_array_equal(tree[name][row(now, id)], other[name][row(before, id)])
    for name in now.model.item_tables:
        assert not moments(state.opt).mu[name][row(now, "X")].any()
        assert (moments(state.opt).nu[name][row(now, "X")] > 0).all()
    assert moments(state.opt).count == moments(old.opt).count


def test_a_new_item_begins_as_the_mean_of_its_neighbours(tmp_path):
    before = setup_of("sasrec", log_of(BEFORE))
    old = saved(tmp_path / "old", before)
    log = interactions.from_sequences([list("aXbXc"), list("abcde"), list("YYYab"), list("bdXab")])
    first = assembly.first_state(setup_of("sasrec", log, init_from=str(tmp_path / "old")))
    # its second moments begin as the mean of theirs: from 0, Adam's first steps would be full ones
    for then, now in ((old.params, first.params), (moments(old.opt).nu, moments(first.opt).nu)):
        table = dict(zip(BEFORE, then["items"], strict=True))
        found = dict(zip(log.catalogue.ids.tolist(), now["items"], strict=True))
        # the last two items of a user are not trained on
        for new, like in {"X": "abd", "Y": "abcde"}.items():
            rows = np.array([table[id] for id in like])
            wanted = likeness.typical(rows) if then is old.params else rows.mean(0)
            np.testing.assert_allclose(found[new], wanted, rtol=1e-5)


def test_what_stands_among_new_items_begins_like_those_around_them(tmp_path):
    before = setup_of("sasrec", log_of(BEFORE))
    table = dict(zip(BEFORE, saved(tmp_path / "old", before).params["items"], strict=True))
    album = interactions.from_sequences([list("aNMPab"), list("abcde"), list("bdcab")])
    first = assembly.first_state(setup_of("sasrec", album, init_from=str(tmp_path / "old")))
    found = dict(zip(album.catalogue.ids.tolist(), first.params["items"], strict=True))
    for new in "NMP":
        np.testing.assert_allclose(found[new], table["a"], rtol=1e-5)


def test_no_device_holds_a_whole_table_that_is_split(tmp_path, monkeypatch):
    """The initial params and those of the earlier training are combined on the host."""
    given, moved = [], growing._moved

    def watched(matched, old, new, *begin, **otherwise):
        given.append((old, new))
        return moved(matched, old, new, *begin, **otherwise)

    monkeypatch.setattr(growing, "_moved", watched)
    saved(tmp_path / "old", setup_of("sasrec", log_of(BEFORE)))
    begun = {"init_from": str(tmp_path / "old")}
    one = setup_of("sasrec", log_of(AFTER, seed=1), **begun)
    split = setup_of("sasrec", log_of(AFTER, seed=1), 4, **begun, mesh=MeshConfig(item=4))
    wanted, found = (assembly.to_save(setup, assembly.first_state(setup)) for setup in (one, split))
    jax.tree.map(np.testing.assert_array_equal, found, jax.device_get(wanted))
    assert given and all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(given))


@pytest.mark.slow
def test_types_of_events_are_matched_by_their_names(tmp_path):
    def typed(ids, names):
        log = log_of(ids)
        numbers = np.random.default_rng(1).integers(1, len(names) + 1, len(log.items)).astype(np.uint8)
        return replace(log, types=Types(numbers, names))

    old = saved(tmp_path / "old", setup_of("sasrec", typed(BEFORE, ("cart", "view")), context="type,weight"))
    log = typed(AFTER, ("buy", "cart", "share", "view"))
    now = setup_of("sasrec", log, context="type,weight", init_from=str(tmp_path / "old"))
    tables = jax.device_get(assembly.first_state(now)).params["context"]
    before = old.evaluated["context"]
    np.testing.assert_array_equal(tables["type"][[1, 3]], before["type"])
    assert not tables["type"][[0, 2]].any()
    np.testing.assert_array_equal(tables["weight"], before["weight"])
    assert_sizes_of_gradients_are_typical(now, old, "context", "type", new=[0, 2])


@pytest.mark.slow
def test_columns_of_users_are_matched_by_their_values(tmp_path):
    def known(ids, values):
        log = log_of(ids)
        about = pl.DataFrame({"land": [values[0]] * len(log.users)})
        return replace(log, user_columns=UserColumns(about, (Column("land", values=values),)))

    old = saved(tmp_path / "old", setup_of("sasrec", known(BEFORE, ("de", "fr")), user_features="land"))
    log = known(AFTER, ("at", "de", "es", "fr"))
    now = setup_of("sasrec", log, user_features="land", init_from=str(tmp_path / "old"))
    table = jax.device_get(assembly.first_state(now)).params["context"]["user land"]
    np.testing.assert_array_equal(table[[1, 3]], old.evaluated["context"]["user land"])
    assert not table[[0, 2]].any()
    assert_sizes_of_gradients_are_typical(now, old, "context", "user land", new=[0, 2])


@pytest.mark.slow
def test_values_of_features_are_matched_by_their_names(tmp_path):
    before = setup_of("sasrec with features", log_of("bdfhjl"))
    old = saved(tmp_path / "old", before)
    now = setup_of("sasrec with features", log_of(AFTER), init_from=str(tmp_path / "old"))
    known, values = (growing._values(each.config, each.split.interactions.catalogue) for each in (before, now))
    new = [row for row, value in enumerate(values) if value not in known]
    assert new
    assert_sizes_of_gradients_are_typical(now, old, "features", "items", "values", new=new)


def assert_sizes_of_gradients_are_typical(now, old, *path, new):
    """For rows that the earlier training lacks: from 0, Adam's first steps would be several full ones."""
    sizes, then = (moments(opt).nu for opt in (jax.device_get(assembly.first_state(now)).opt, old.opt))
    for part in path:
        sizes, then = sizes[part], then[part]
    np.testing.assert_allclose(sizes[new], np.broadcast_to(then.mean(0), sizes[new].shape), rtol=1e-5)


@pytest.mark.slow
def test_the_optimiser_may_be_another_and_begins_anew(tmp_path):
    saved(tmp_path / "old", setup_of("sasrec", log_of(BEFORE)))
    now = setup_of("sasrec", log_of(AFTER, seed=1), init_from=str(tmp_path / "old"))
    optim = replace(now.config.optim, name="adagrad", schedule="cosine", clip=1.0)
    now = setups.setup(replace(now.config, optim=optim), now.split, now.devices)
    state = assembly.first_state(now)
    assert optax.tree_utils.tree_get(state.opt, "count") == 0
    assert not np.any(optax.tree_utils.tree_get(state.opt, "sum_of_squares")["items"])


@pytest.mark.slow
def test_another_model_or_catalogue_is_refused_in_words(tmp_path):
    saved(tmp_path / "old", setup_of("sasrec", log_of(BEFORE)))
    now = setup_of("sasrec", log_of(AFTER), init_from=str(tmp_path / "old"))
    wider = setups.setup(replace(now.config, model=replace(now.config.model, dim=16)), now.split, now.devices)
    with pytest.raises(UserError, match=r"config\.model\.dim was 8 and is 16"):
        assembly.first_state(wider)
    others = setup_of("sasrec", log_of("uvwxyz"), init_from=str(tmp_path / "old"))
    with pytest.raises(UserError, match=r"no item in common \('a', 'b', 'c' there, 'u', 'v', 'w' here\)"):
        assembly.first_state(others)
    with pytest.raises(UserError, match="is not a workdir"):
        growing.settled({"init_from": str(tmp_path / "nothing")})


names = st.lists(st.integers(0, 12), unique=True, max_size=9)


@given(names, names, st.booleans())
def test_what_is_matched_is_the_same_id_whether_it_is_a_number_or_text(old, new, text):
    found = growing.match(old, np.array(list(map(str, new)), object) if text else new)
    assert [old[row] for row in found.old] == [new[row] for row in found.new] == [id for id in new if id in old]
    assert [new[row] for row in found.added] == [id for id in new if id not in old]


def test_what_is_carried_over_and_what_is_new_or_gone_is_counted(monkeypatch):
    monkeypatch.setattr(fetching, "here", lambda path, whole: path)
    monkeypatch.setattr(workdir, "read", lambda path: None)
    monkeypatch.setattr(workdir, "catalogue", lambda path, stored: log_of(BEFORE).catalogue)
    said = growing.describe(replace(config_of("sasrec"), init_from="runs/a"), log_of(AFTER).catalogue)
    assert said == "begins with runs/a: 4 items are carried over, 3 are new, 2 are gone"


def test_auto_is_what_the_earlier_training_has_where_params_depend_on_it(tmp_path, monkeypatch):
    saved(tmp_path / "old", setup_of("sasrec", log_of(BEFORE)))
    given = {"init_from": str(tmp_path / "old"), "length": "auto", "epochs": "auto"}
    given |= {"model": {"dim": "auto", "heads": 1}}
    values, lines = growing.settled(given)
    assert values == given | {"length": 8, "model": {"dim": 8, "heads": 1}}
    assert lines == [f"length=8, model.dim=8: as in {tmp_path / 'old'}"]
    monkeypatch.chdir(tmp_path)
    assert growing.settled(given | {"init_from": "old"})[0] == values  # so it can be resumed from any folder


def test_what_has_begun_goes_on_where_the_earlier_training_is_gone(tmp_path):
    """The same command resumes it: keys that are `auto` or left out keep the values that the training began with."""
    old, new = tmp_path / "old", tmp_path / "new"
    saved(new, setup_of("sasrec", log_of(AFTER), init_from=str(old)))
    given = {"init_from": str(old), "length": "auto", "model": {"dim": "auto"}}
    assert growing.settled(given, new)[0] == given | {"length": 8, "model": {"dim": 8}}
    command = argparse.Namespace(init_from=old, workdir=new, config=None)
    began = to_dict(workdir.read(new).config)
    assert train._recipe(command, {}).values == began
    log = Log(log_of(AFTER), began["dataset"])
    assert fitting.configuration(None, {"init_from": str(old)}, log, begun=new)[0] == workdir.read(new).config
    for gone, begun in ((old, None), (old, tmp_path), (tmp_path / "other", new)):
        with pytest.raises(UserError, match="is not a workdir"):
            growing.earlier(gone, begun)


def test_what_has_begun_keeps_its_precision_on_any_device(tmp_path, monkeypatch):
    """So a training that an accelerator began can be resumed on a CPU by the same command, and the other way round."""
    begun, given = tmp_path / "begun", {"precision": "auto"}
    assert growing.settled(given, begun) == (given, [])  # it is not there yet
    saved(begun, setup_of("sasrec", log_of(BEFORE), precision="bfloat16"))
    kept = {"precision": "bfloat16"}, ["precision=bfloat16: as this training began"]
    assert growing.settled(given, begun) == growing.settled(given, f"file://{begun}") == kept
    assert growing.settled({"precision": "float32"}, begun) == ({"precision": "float32"}, [])
    with monkeypatch.context() as alone:  # the first process of a search resolves configurations that others don't
        alone.setattr(processes, "from_first", None)
        assert growing.settled(given) == (given, [])
    told = []
    log = Log(log_of(BEFORE), "log")
    assert fitting.configuration("default", {}, log, told.append, begun)[0].precision == "bfloat16"
    assert kept[1][0] in told
    assert fitting.configuration("default", {}, log)[0].precision == "float32"


@pytest.mark.slow
def test_killed_it_resumes_from_its_own_checkpoint_bit_for_bit(tmp_path, monkeypatch):
    saved(tmp_path / "old", setup_of("sasrec", log_of(BEFORE)))
    prepared = lambda: (setup_of("sasrec", log_of(AFTER, seed=1), init_from=str(tmp_path / "old"), epochs=3), None)
    run(prepared(), tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoints, "save", killed_at(2, checkpoint.Checkpoints.save))
        with pytest.raises(Killed):
            run(prepared(), tmp_path / "killed")
    (tmp_path / "old").rename(tmp_path / "elsewhere")
    run(prepared(), tmp_path / "killed")
    (tmp_path / "elsewhere").rename(tmp_path / "old")
    assert_same(outcome(prepared(), tmp_path / "killed"), outcome(prepared(), tmp_path / "whole"))
