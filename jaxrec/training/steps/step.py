"""What one device does in a step, and many steps as one program. It is independent of the number of devices."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jaxrec.kernels import hardware, reductions
from jaxrec.kernels.collectives import psum
from jaxrec.kernels.placement import AXIS
from jaxrec.kernels.random import fold_in, row_keys, site_keys, step_key
from jaxrec.models.model import Model, take_slots
from jaxrec.training.steps import folding, packing
from jaxrec.training.steps.negatives import SITE
from jaxrec.training.steps.own_items import OwnItems


class State(NamedTuple):
    """Everything that training changes."""

    step: Any  #: [] int32, steps taken
    params: Any
    opt: Any  #: optimiser state
    carry: Any  #: the state of a recurrent model, one slice per device; None for other models
    average: Any = None  #: the moving average of the params (see `averaged`); None if there is none

    @property
    def evaluated(self) -> Any:
        """The params that are used for evaluation and serving: the average if there is one."""
        return self.params if self.average is None else self.average

    def to_save(self) -> tuple[Any, dict[str, Any]]:
        """Returns the params to evaluate and serve, and the rest; with an average, "trained" has the trained params."""
        rest = {"step": self.step, "opt": self.opt, "carry": self.carry}
        return self.evaluated, rest if self.average is None else rest | {"trained": self.params}

    @classmethod
    def saved(cls, params: Any, rest: Mapping[str, Any]) -> "State":
        """Returns the State from the two parts of `to_save`."""
        step, opt, carry = (rest[name] for name in ("step", "opt", "carry"))
        if "trained" not in rest:
            return cls(step, params, opt, carry)
        return cls(step, rest["trained"], opt, carry, params)


class StepMetrics(NamedTuple):
    """The metrics of a step, [] float32; or of the steps of a call, [K], with NaN for steps that were not taken."""

    loss: Any  #: weighted mean over the real targets of all devices
    count: Any  #: the number of real targets
    weight: Any  #: the sum of their weights
    norm: Any  #: global norm of the gradient, before clipping


class Batch(NamedTuple):
    """Some of a device's rows of a step: their inputs, and the targets of their N slots."""

    stream: Any  #: Stream [R, T]
    keys: Any  #: keys [R]
    slots: Any  #: objectives.Targets.slots
    targets: Any  #: [N] int32
    weights: Any  #: [N] float32
    negatives: Any  #: Negatives, or None
    carry: Any  #: the carry of the rows, or None
    items: Any = None  #: models.features.Items of the rows of the tables, if items have features
    users: Any = None  #: [N] int32, the slots' users (-1 without a target), if the loss leaves out their items
    seen: Any = None  #: Seen of all users, if the loss leaves out their items

    @property
    def comparison(self) -> Any:
        """What the loss is given besides the targets: Negatives, OwnItems, or None."""
        return self.negatives if self.seen is None else OwnItems(self.users, self.seen)


def norm(tree: Any) -> jax.Array:
    """Returns the global 2-norm of a tree."""
    return jnp.sqrt(sum(reductions.total(x**2) for x in jax.tree.leaves(tree)))


local = partial(jax.lax.pcast, axis_name=AXIS, to="varying")  # of params that every device has whole
summed = partial(psum, axis=AXIS)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The functions and constants that a step consists of."""

    batch: Callable  #: (data, step_in_epoch, rows_R) -> Stream of these rows of the step's batch
    make_targets: Callable  #: (stream, keys_R) -> (the Stream that the model sees, objectives.Targets)
    sample: Callable | None  #: (key, keys_R, objectives.Targets, SamplerTables) -> Negatives; None for no negatives
    loss_and_grad: Callable  #: (params, Batch) -> (sum of weight x loss, its gradient, carry), as from `loss_and_grad`
    optimiser: Any  #: as from `optim.optimiser`
    wrap_update: Callable = lambda update: update  #: wraps the update of a step, as `sparse` does
    rows: int  #: rows per step, on all devices
    loss_divisor: int | None  #: what the sum of the losses is divided by; None: the number of targets
    ema: float = 0.0  #: the decay of the average of the params, if the State has one
    norm: Callable = norm  #: of the gradient
    local: Callable = local  #: (params) -> this device's own copy, whole
    summed: Callable = summed  #: ((loss, gradient of `local`)) -> sums over the devices; the gradient split like params
    leaves_out: bool = False  #: whether the loss is given OwnItems, from `SamplerTables.seen`, to leave them out
    packs: bool = True  #: whether accelerators may hold small params as few arrays
    tables: frozenset = frozenset()  #: names of the params of which `wrap_update` may update some rows only
    by_row: tuple[str, ...] = ()  #: names of the vectors that the model may be given a copy per row of: see Model
    microbatch_rows: int = 0  #: rows that the model is given at once
    items: Callable | None = None  #: (key, sampler tables) -> the models.features.Items of the step


def step(
    parts: Parts, state: State, data: Any, sampler_tables: Any, index: jax.Array, seed: ArrayLike
) -> tuple[State, StepMetrics]:
    """Takes one step on this device's share of the rows: batch, loss, gradient, update.

    Args:
        parts: Parts.
        state: State.
        data: the argument of `parts.batch`.
        sampler_tables: the argument of `parts.sample`.
        index: [] int, the number of the step in the data.
        seed: [] uint32, the seed of the training.

    Returns:
        (State, StepMetrics), the same on every device.
    """
    share = parts.rows // jax.lax.axis_size(AXIS)
    rows = jax.lax.axis_index(AXIS) * share + jnp.arange(share)
    stream = parts.batch(data, index, rows)
    keys = row_keys(seed, state.step, rows)
    drawn, stream = stream.negatives, stream._replace(negatives=None)
    stream, targets = parts.make_targets(stream, keys)
    targets = targets._replace(negatives=drawn)
    negatives = None
    if parts.sample is not None:
        shared_key = fold_in(step_key(seed, state.step), SITE)
        negatives = parts.sample(shared_key, site_keys(keys, SITE), targets, sampler_tables)
    target_N = targets.items.reshape(-1)
    is_real_N = (target_N > 0).astype(jnp.float32)
    weight_N = is_real_N if targets.weights is None else is_real_N * targets.weights.reshape(-1)
    count = psum(is_real_N.sum(), AXIS)
    total = count if targets.weights is None else jnp.maximum(psum(weight_N.sum(), AXIS), jnp.finfo(jnp.float32).tiny)
    divisor = parts.loss_divisor or total
    items = None
    if parts.items is not None:
        items = parts.items(fold_in(step_key(seed, state.step), folding.ID_SITE), sampler_tables)
    # Weights are divided by the count of all devices, so that gradients only have to be summed.
    batch = Batch(stream, keys, targets.slots, target_N, weight_N / divisor, negatives, state.carry, items=items)
    if parts.leaves_out:
        user_N = jnp.where(target_N > 0, targets.user_index.reshape(-1), -1)
        batch = batch._replace(users=user_N, seen=sampler_tables.seen)

    @parts.wrap_update
    def update(params, opt, batch, touched_mask=None):
        loss, grads, carry = parts.loss_and_grad(parts.local(params), batch)
        loss, grads = parts.summed((loss, grads))
        updates, opt = parts.optimiser.update(grads, opt, params, used=touched_mask)
        return optax.apply_updates(params, updates), opt, (loss, grads, carry)

    params, opt, (loss, grads, carry) = update(state.params, state.opt, batch)
    average = None if state.average is None else averaged(state.average, params, state.step, parts.ema)
    state = State(state.step + 1, params, opt, carry, average)
    return state, StepMetrics(loss * divisor / total, count, total, parts.norm(grads))


def averaged(average: Any, params: Any, step: jax.Array, ema: float) -> Any:
    """Updates the exponential moving average of the params with those of one more step.

    The result is the mean of the params after steps 1 to t, weighted by ema^(t - step). It is debiased as in Adam
    (Kingma & Ba 2015, section 3), so the initial params have no weight.

    Args:
        average: the average after `step` steps; before the first step any finite values.
        params: the params after `step` + 1 steps.
        step: [] int32.
        ema: above 0, below 1.
    """
    log = np.log(ema)
    share = np.float32(-np.expm1(log)) / -jnp.expm1(np.float32(log) * (step + 1).astype(jnp.float32))
    return jax.tree.map(lambda mean, value: mean + jnp.minimum(share, 1) * (value - mean), average, params)


def loss_and_grad(model: Model, total: Callable, dtype: Any, value_and_grad: Callable | None = None) -> Callable:
    """Returns the loss of a Batch and its gradient: (params, Batch) -> (sum over the slots, gradient, carry or None).

    Args:
        model: Model.
        total: (hidden_ND, target_N, weight_N, negatives, table_VD, bias_V) -> sum over the slots.
        dtype: the dtype of matrix products; params and sums are float32.
        value_and_grad: as `jax.value_and_grad` with `has_aux`, the default, or as `fsdp.Sharded.value_and_grad`.
    """

    def loss(params, batch):
        hidden, carry = model.encode(params, batch.stream, batch.carry, keys=batch.keys)
        hidden = hidden if batch.slots is None else take_slots(hidden, batch.slots)
        hidden = model.head(params, hidden).reshape(-1, hidden.shape[-1]).astype(dtype)
        carry = None if batch.carry is None else carry  # packed rows begin with a sequence, so they need no carry
        return total(hidden, batch.targets, batch.weights, batch.comparison, *model.output_embedding(params)), carry

    both = value_and_grad(loss) if value_and_grad else jax.value_and_grad(loss, has_aux=True)

    def ordered(params, batch):
        (value, carry), grads = both(params, batch)
        return value, grads, carry

    return ordered


def call(parts: Parts, size: int) -> Callable:
    """Returns many steps as one program.

    It is (state, data, sampler_tables, start, end, seed, device) -> (State, StepMetrics of [size]).

    `start` is the step at which the data begin (the first of an epoch or of a host batch). `end` is the step to stop
    before; it is traced, so the same program runs any number of steps up to the next save. The program stops early
    after a step whose loss or gradient is not finite. The seed is an argument, so that trainings that differ only in
    their seeds share a program.
    """

    def many(state, data, sampler_tables, start, end, seed, _device):
        if hardware.is_cpu() or not parts.packs:
            return steps(parts, state, data, sampler_tables, start, end, seed)
        packed_parts, packed_state, unpack = packing.packed(parts, state)
        state, metrics = steps(packed_parts, packed_state, data, sampler_tables, start, end, seed)
        return unpack(state), metrics

    def steps(parts, state, data, sampler_tables, start, end, seed):
        first = state.step
        # On an accelerator the metrics of a step are one array, which one kernel writes and the condition reads back.
        # On a CPU separate scalars are faster, and those of the last step are carried along.
        on_cpu = hardware.is_cpu()
        joined = StepMetrics._make if on_cpu else jnp.stack

        def going(loop):
            state, kept, carried = loop
            last = carried if on_cpu else jax.lax.dynamic_index_in_dim(kept, state.step - first, keepdims=False)
            finite = [jnp.isfinite(x).all() for x in jax.tree.leaves(last)]
            return (state.step < end) & jnp.stack(finite).all()

        def body(loop):
            state, kept, _ = loop
            taken = state.step - first + 1
            state, values = step(parts, state, data, sampler_tables, state.step - start, seed)
            values = joined(values)
            kept = jax.tree.map(lambda x, value: x.at[taken].set(value), kept, values)
            return state, kept, values if on_cpu else None

        none = joined([jnp.float32(0)] * len(StepMetrics._fields))  # before the first step, in row 0
        empty = jax.tree.map(lambda x: jnp.full((size + 1, *x.shape), jnp.nan, x.dtype).at[0].set(x), none)
        state, kept, _ = jax.lax.while_loop(going, body, (state, empty, none if on_cpu else None))
        kept = jax.tree.map(lambda x: x[1:], kept)
        return state, kept if on_cpu else StepMetrics(*kept.T)

    return many
