"""What one device does in a step, and many steps in one call. It knows an axis name, never how many devices."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxrec.kernels import reductions
from jaxrec.kernels.collectives import added
from jaxrec.kernels.placement import AXIS
from jaxrec.kernels.random import fold, row_keys, site_keys, step_key
from jaxrec.models.model import pick
from jaxrec.training import sparse
from jaxrec.training.negatives import portioned

NEGATIVES_SITE = 2**31 - 1  # beyond the sites of any model's dropouts, and beyond the rows of any batch


class State(NamedTuple):
    """All that training changes; what it is trained with (functions, data, plan) is not state."""

    step: Any  #: [] int32, steps taken
    params: Any
    opt: Any  #: optimiser state
    carry: Any  #: what a recurrent model carries from step to step, one slice a device; None otherwise


class Report(NamedTuple):
    """Of each step of a call, [K] float32: NaN for the steps that the call did not take."""

    loss: Any  #: mean over the real targets of all devices
    count: Any  #: real targets
    norm: Any  #: global norm of the gradient, before clipping


class Portion(NamedTuple):
    """Some of a device's rows of a step: what is shown, and what is asked at their N slots."""

    stream: Any
    keys: Any  #: of the rows
    slots: Any  #: objectives.Asked.slots
    targets: Any  #: [N]
    weights: Any  #: [N] float32
    negatives: Any  #: negatives.Negatives, or None
    carry: Any  #: of the rows, or None


class Parts(NamedTuple):
    """What a step is made of."""

    model: Any  #: models.Model
    total: Callable  #: losses: (hidden_ND, target_N, weight_N, negatives, table, bias) -> sum over slots
    ask: Callable  #: (stream, keys_R) -> (Stream as it is shown, objectives.Asked)
    negatives: Callable | None  #: (key, keys_R, objectives.Asked, aside) -> negatives.Negatives
    optimiser: Any  #: of optim
    sparse: bool  #: whether only the touched rows of tables are read and written
    batch: Callable  #: (data, step_in_epoch, rows_R) -> Stream of these rows of the step's batch
    rows: int  #: of a step, over all devices
    at_once: int  #: of a device's rows, into which it divides: their activations are held together
    lanes: int | None  #: by which the sum of losses is divided; None: by the count of real targets
    seed: int
    dtype: Any  #: of the products; params and sums are float32


def step(parts, state, data, aside, index):
    """One step on this device's share of the rows.

    Args:
        data: what `parts.batch` reads. aside: what `parts.negatives` reads. index: [] the step's number in the data.

    Returns:
        (State, (loss, count, gradient norm)), the same on every device.
    """
    share = parts.rows // jax.lax.axis_size(AXIS)
    rows = jax.lax.axis_index(AXIS) * share + jnp.arange(share)
    stream = parts.batch(data, index, rows)
    keys = row_keys(parts.seed, state.step, rows)
    stream, asked = parts.ask(stream, keys)
    negatives = None
    if parts.negatives is not None:
        shared = fold(step_key(parts.seed, state.step), NEGATIVES_SITE)
        negatives = parts.negatives(shared, site_keys(keys, NEGATIVES_SITE), asked, aside)

    near, opt, used = state.params, state.opt, None
    if parts.sparse:
        tables = sparse.tables_of(parts.model, parts.optimiser, state.params, state.opt)
        size = len(parts.model.table(state.params)[0])
        touched, *items = sparse.relabel(stream.items, asked.targets, negatives.items, size, AXIS)
        stream, asked = stream._replace(items=items[0]), asked._replace(targets=items[1])
        negatives = negatives._replace(items=items[2])
        near, opt = (sparse.take(touched, *each) for each in zip((near, opt), tables, strict=True))
        used = sparse.masks(touched, near, tables[0])

    target = asked.targets.reshape(-1)
    real = (target > 0).astype(jnp.float32)
    count = added(real.sum(), AXIS)
    divisor = parts.lanes or count

    def total(params, portion):
        hidden, carry = parts.model.encode(params, portion.stream, portion.carry, keys=portion.keys)
        hidden = hidden if portion.slots is None else pick(hidden, portion.slots)
        hidden = parts.model.head(params, hidden).reshape(-1, hidden.shape[-1]).astype(parts.dtype)
        of_slots = hidden, portion.targets, portion.weights, portion.negatives
        carry = None if portion.carry is None else carry  # a packed row begins with a sequence: nothing goes on into it
        return parts.total(*of_slots, *parts.model.table(params)), carry

    # Weights are divided by the count of all devices: what is left to do to the gradients is to add them up.
    local = jax.lax.pcast(near, AXIS, to="varying")
    whole = Portion(stream, keys, asked.slots, target, real / divisor, negatives, state.carry)
    loss, grads, carry = by_portions(total, local, whole, share // parts.at_once)
    loss, grads = added((loss, grads), AXIS)
    updates, opt = parts.optimiser.update(grads, opt, near, used=used)
    params = optax.apply_updates(near, updates)
    if parts.sparse:
        params = sparse.put(touched, state.params, params, tables[0])
        opt = sparse.put(touched, state.opt, opt, tables[1])
    return State(state.step + 1, params, opt, carry), (loss * divisor / count, count, norm(grads))


def by_portions(total, params, whole, number):
    """A total over this device's rows, its gradient, and the carry: one portion of the rows after the other.

    A CPU's caches hold the activations of one, and any device's memory those of more rows in all.

    Args:
        total: (params, Portion) -> (sum over its slots, the carry or None).
        params: varying over the devices. whole: Portion of all rows. number: of equal portions, at least 1.

    Returns:
        (total, gradient, carry)
    """
    graded = jax.value_and_grad(total, has_aux=True)
    if number == 1:
        (loss, carry), grads = graded(params, whole)
        return loss, grads, carry

    def next_portion(sums, portion):
        (loss, carry), grads = graded(params, portion)
        return jax.tree.map(jnp.add, sums, (loss, grads)), carry

    cut = lambda tree: jax.tree.map(lambda x: x.reshape(number, -1, *x.shape[1:]), tree)
    negatives = None if whole.negatives is None else portioned(whole.negatives, cut, number)
    portions = cut(whole._replace(negatives=None))._replace(negatives=negatives)
    zeros = jax.tree.map(jnp.zeros_like, (whole.weights[0], params))
    (loss, grads), carry = jax.lax.scan(next_portion, zeros, portions)
    return loss, grads, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), carry)


def norm(tree):
    """The global 2-norm."""
    return jnp.sqrt(sum(reductions.total(x**2) for x in jax.tree.leaves(tree)))


def call(parts, size):
    """Many steps as one program: (state, data, aside, start, end, device) -> (State, Report of [size]).

    `start` is the step at which the data begin (an epoch's, or a host batch's first), `end` the traced step to stop
    before: the same program serves whatever number of steps lies before the next save. It stops early, after reporting
    it, at a loss or a gradient that is not finite.
    """

    def many(state, data, aside, start, end, _device):
        first = state.step

        def going(loop):
            state, _, finite = loop
            return (state.step < end) & finite

        def body(loop):
            state, report, _ = loop
            at = state.step - first
            state, values = step(parts, state, data, aside, state.step - start)
            report = Report(*(kept.at[at].set(value) for kept, value in zip(report, values, strict=True)))
            return state, report, jnp.isfinite(values[0]) & jnp.isfinite(values[2])

        empty = Report(*(jnp.full((size,), jnp.nan, jnp.float32),) * 3)
        state, report, _ = jax.lax.while_loop(going, body, (state, empty, jnp.array(True)))
        return state, report

    return many
