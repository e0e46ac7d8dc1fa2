"""Laws of benchmarks/peers/tuned_torch.py: it trains the function that jaxrec trains, on the users' own items."""

import functools
import importlib
import sys

import entries
import jax
import jax.numpy as jnp
import numpy as np
import printed
import pytest
from hypothesis import given, strategies as st

from jaxrec.batches.stream import Stream
from jaxrec.training.losses.softmax import softmax_plain

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # more only wait for each other here

ITEMS, SLOTS, WIDTH, LAYERS = 30, 9, 8, 2
USERS = {1: [3, 4, 5], 2: [7, 7], 3: list(range(1, 21)), 4: [30, 1, 29, 2, 28]}


@pytest.fixture(scope="module")
def tuned():
    """The module, which finds others in its own folder, as a script does."""
    names, before = ("data", "turns", "tuned_torch"), dict(sys.modules)
    sys.path.insert(0, str(printed.ROOT / "benchmarks" / "peers"))
    try:
        for name in names:
            sys.modules.pop(name, None)
        return importlib.import_module("tuned_torch")
    finally:
        sys.path.pop(0)
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update({name: before[name] for name in names if name in before})


def noisy(model):
    """Params with biases and gains near 0 and 1, but not equal to them."""
    random = np.random.default_rng(1)
    drawn = lambda path, x: jnp.asarray(
        ("scale" in jax.tree_util.keystr(path)) + 0.3 * random.normal(size=x.shape), jnp.float32
    )
    return jax.tree_util.tree_map_with_path(drawn, jax.eval_shape(model.init, jax.random.key(0)))


def filled(module, params):
    """Copies the params of jaxrec's SASRec into the module."""
    tensor = lambda x: torch.tensor(np.asarray(x))
    kernel = lambda *parts: tensor(jnp.concatenate([part["kernel"] for part in parts], axis=1).T)
    bias = lambda *parts: tensor(jnp.concatenate([part["bias"] for part in parts]))
    state = {"items.weight": torch.cat([torch.ones(1, WIDTH), tensor(params["items"])])}  # the row of no item is unused
    state["positions.weight"] = tensor(params["positions"])
    norms, dense = {"last_norm": params["last_norm"]}, {}
    for i in range(LAYERS):
        at = f"blocks.{i}."
        norms |= {
            at + "attention_norm": params[f"attention_norm_{i}"],
            at + "feed_norm": params[f"feed_forward_norm_{i}"],
        }
        attention, feed = params[f"attention_{i}"], params[f"feed_forward_{i}"]
        dense |= {at + "query": [attention["query"]], at + "key_value": [attention["key"], attention["value"]]}
        dense |= {at + "out": [attention["out"]], at + "inner": [feed["inner"]], at + "outer": [feed["outer"]]}
    for name, own in norms.items():
        state |= {f"{name}.weight": tensor(own["scale"]), f"{name}.bias": tensor(own["bias"])}
    for name, parts in dense.items():
        state |= {f"{name}.weight": kernel(*parts), f"{name}.bias": bias(*parts)}
    module.load_state_dict(state)
    return module


def plain_loss(model, shown, at, targets, params):
    """The mean of the softmax loss by jaxrec's definition, of rows with one user each."""
    real = (shown > 0).astype(np.int32)
    zeros = np.zeros_like(real)
    stream = Stream(shown, zeros, zeros, zeros, zeros)._replace(segments=real, positions=real * np.arange(SLOTS))
    hidden, _ = model.encode(params, jax.tree.map(jnp.asarray, stream))
    hidden = hidden.reshape(-1, WIDTH)[at]
    weight = jnp.asarray(targets > 0, jnp.float32)
    total = softmax_plain(hidden, jnp.asarray(targets), weight, None, params["items"], None)
    return total / weight.sum()


def test_its_loss_and_gradient_are_those_of_jaxrec(tuned):
    keys = {"dim": WIDTH, "layers": LAYERS, "dropout": 0.0, "heads": 1}
    model = entries.model("sasrec", ITEMS, SLOTS, "from_start", "float32", **keys)
    params = noisy(model)
    module = filled(tuned.SASRec(ITEMS, SLOTS, WIDTH, LAYERS, 0.0), params)
    for tensors, _ in tuned.batches(USERS, 3, SLOTS, "cpu", number=2):
        shown, at, targets = (each.numpy().astype(np.int32) for each in tensors)
        wanted, gradient = jax.value_and_grad(functools.partial(plain_loss, model, shown, at, targets))(params)
        module.zero_grad()
        found = module.loss(*tensors, tuned.plain)
        found.backward()
        np.testing.assert_allclose(found.item(), wanted, rtol=1e-5)
        np.testing.assert_allclose(module.items.weight.grad[1:].numpy(), gradient["items"], rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(module.positions.weight.grad.numpy(), gradient["positions"], rtol=1e-3, atol=1e-5)


@given(st.dictionaries(st.integers(1, 9), st.lists(st.integers(1, ITEMS), min_size=2, max_size=25), min_size=2))
def test_a_batch_has_each_users_last_items_and_what_follows_them(tuned, users):
    size = min(len(users), 3)
    wanted = {tuple(own[-SLOTS - 1 :]) for own in users.values()}
    for (shown, at, targets), count in tuned.batches(users, size, SLOTS, "cpu", number=3):
        assert shown.shape == (size, SLOTS) and at.shape == targets.shape
        labels = torch.zeros(size * SLOTS, dtype=torch.long)
        labels[at[targets > 0]] = targets[targets > 0]
        labels = labels.reshape(shown.shape)
        assert count == int((targets > 0).sum()) == int((shown > 0).sum())
        for items, following in zip(shown.tolist(), labels.tolist(), strict=True):
            length = sum(item > 0 for item in items)
            assert items[1:length] == following[: length - 1] and not any(items[length:])
            assert (*items[:length], following[length - 1]) in wanted


@pytest.mark.parametrize("half", [False, True])
def test_steps_lower_the_loss(tuned, half):
    torch.manual_seed(0)
    model = tuned.SASRec(ITEMS, SLOTS, WIDTH, LAYERS, 0.1).train()
    drawn = tuned.batches(USERS, 3, SLOTS, "cpu", number=2)
    step = tuned.Step(model, tuned.plain, half, drawn[0][0])
    losses = [step(tensors).item() for _ in range(60) for tensors, _ in drawn]
    assert np.mean(losses[-4:]) < np.mean(losses[:4])


def test_the_fastest_way_that_works_is_taken(tuned):
    def slow(tensors):
        return torch.linalg.matrix_power(torch.eye(300), 60).sum()

    quick, drawn = (lambda tensors: tensors[0].sum()), [((torch.ones(1),), 1)]
    failing = {"broken": lambda: 1 / 0}
    assert tuned.fastest({"plain": lambda: slow, "other": lambda: quick} | failing, drawn) is quick
    assert tuned.fastest({"plain": lambda: quick, "other": lambda: slow} | failing, drawn) is quick
    with pytest.raises(ZeroDivisionError):
        tuned.fastest({"plain": lambda: 1 / 0}, drawn)
