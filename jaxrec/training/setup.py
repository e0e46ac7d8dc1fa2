"""Builds what a training consists of: data, objective, model, optimiser, and the program of a call."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec as P

from jaxrec.batches import context, objectives, session_parallel, stream, target_types
from jaxrec.config import registry
from jaxrec.config.keys import Config, LossOptions
from jaxrec.config.parsing import row_width
from jaxrec.data import event_types
from jaxrec.data.interactions import Interactions
from jaxrec.data.splits import Split
from jaxrec.kernels import compiler, placement, processes, shards
from jaxrec.models.model import Model
from jaxrec.system.errors import UserError
from jaxrec.training import folding, launch, microbatches, negatives, optim, sharding, sparse, step
from jaxrec.training.building import model_of
from jaxrec.training.dense import Dense
from jaxrec.training.host_negatives import HostDraw, given
from jaxrec.training.leaves import abstract
from jaxrec.training.losses import entry as losses


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Everything that a training consists of except its state; a function of config, split and devices."""

    config: Any
    split: Any
    devices: list
    mesh: Mesh  #: of the devices
    specs: Any  #: how a State lies on the mesh, a PartitionSpec for every part of it
    subsequences: stream.Subsequences
    order_of: np.ndarray | None  #: [P] as from stream.packing_layout; None if all epochs have the same order
    data: stream.Data  #: on the devices, or on the host
    gather: Any  #: (data, order, rows, with_targets) -> Stream; rows are counted from the first of the epoch
    sampler_tables: Any  #: SamplerTables on the devices
    objective: Any
    model: Any  #: with whole tables, whatever the mesh
    dense: Any  #: dense.Dense, where other params are split; None: they are whole on every device
    optimiser: Any
    first: Any  #: (key) -> the State before the first step, as the devices have it
    whole: Any  #: (key) -> the same as checkpoints have it, without padding
    run: Any  #: (state, data, sampler_tables, start, end) -> (state, step.StepMetrics)
    host_draw: HostDraw | None  #: draws negatives for batches from the host; None: a step draws its own
    rows: int  #: rows per step of the plan, whatever the devices
    padded_rows: int  #: rows per step on all devices, the last of them empty: see `stream.padded`
    microbatch_rows: int  #: rows per microbatch; divides a device's rows
    epoch_steps: int  #: steps per epoch

    @property
    def total_steps(self) -> int:
        return self.config.epochs * self.epoch_steps


def setup(config: Config, split: Split, devices: list) -> Setup:
    """Packs the training histories, places the data on the devices, and builds the program of a call."""
    mesh = sharding.mesh_for(config.mesh, devices)
    shares, item_axis = placement.data_size(mesh), placement.item_axis(mesh)
    interactions, items = split.interactions, len(split.interactions.catalogue.ids)
    width = row_width(config)
    objective = target_types.build(config, split)
    subsequences = objective.subsequences(split.start, split.stop, config.length, config.history)
    if not len(subsequences.length):
        before = "".join(f" {name} with an event before it" for name in event_types.asked(interactions)[:1])
        has = f"a{before}" if before else "two items to train on"
        cure = "a longer log, or with times config.split=by-time, which holds the newest events out, leaves some"
        if "test_quantile" in registry.find("split", config.split).keys:
            cure = "a larger config.test_quantile, a longer log, or config.split=last-item leaves some"
        raise UserError(f"{interactions.name}: no user has {has} outside of what the split holds out: {cure}")
    if len(interactions.items) >= 2**31 and config.feed == "device":
        raise UserError(
            f"{interactions.name}: 2^31 interactions or more do not lie on a device: set config.feed=host, which sends "
            "their batches from the host, or train on a part of the users"
        )
    if config.stream == "session-parallel":
        subsequences, most, order_of = session_parallel.oldest_first(subsequences, interactions), 1, None
        rows = session_parallel.rows_of(config.batch)
        layout: Any = session_parallel.schedule(subsequences.length, config.batch, rows)
        gather = partial(session_parallel.gather, step_rows=rows)
    else:
        room = objective.room(subsequences.length)
        packed = stream.pack(np.maximum(subsequences.length, room), width)[1]
        rows, gather = stream.rows_per_step(config.batch, len(subsequences.length), packed), stream.gather
        layout, order_of = stream.packing_layout(subsequences.length, width, rows, room, config.feed == "host")
        row_of = np.searchsorted(layout.first, np.arange(len(order_of)), side="right") - 1
        most = int(np.bincount(row_of, objective.count(subsequences.length[order_of])).max())
    epoch_steps = layout.rows // rows
    if config.epochs * epoch_steps >= 2**31:
        most = (2**31 - 1) // epoch_steps
        raise UserError(f"config.epochs is {config.epochs:,}, of {epoch_steps:,} steps each: 2^31 or more: {most:,} do")
    padded_rows = stream.padded(rows, shares)
    make_targets = partial(objective.make_targets, most=most)
    dtype = jnp.dtype(config.precision)
    whole = model_of(config, split)
    model = sharding.model_on(whole, mesh)
    plain = model.folding.plain if model.folding else model
    microbatch_rows = microbatches.rows_for(config, model, items, padded_rows // shares, devices[0].platform)
    split_dense = sharding.dense_for(config.mesh, model, mesh)
    norm = {"norm": partial(sharding.norm, model, split_dense)} if item_axis or split_dense else {}
    optimiser = optim.optimiser(config.optim, config.epochs * epoch_steps, **norm)
    targets = partial(objectives.expected_targets, objective, subsequences, interactions.items, items)
    host_draw = None
    if config.feed == "host" and getattr(config.loss, "sampling", None) == "uniform-unseen":
        host_draw = HostDraw(split, config.loss.negatives, make_targets)
        draw, sampler_tables = given, None
    else:
        draw, sampler_tables = negatives.sampler(config.loss, split, placement.AXIS, targets)
    sampler_specs: Any = P()
    if model.folding:
        sampler_tables = (sampler_tables or negatives.SamplerTables())._replace(items=model.folding.items)
        sampler_specs = negatives.SamplerTables(P(), P(), P(), P(item_axis))
        draw = folding.trained_alone(draw, item_axis) if draw else None
    sampler_tables = shards.put(sampler_tables, sampler_specs, mesh, placement.ITEM)
    data = stream.Data(
        interactions.items,
        subsequences.start,
        subsequences.user_index,
        layout,
        context.shown(interactions, config),
        target_weights(interactions, config.loss),
        event_types.targets(interactions),
    )
    if config.feed == "device":
        data = placement.put(data._replace(start=subsequences.start.astype(np.int32)), mesh)

        def batch(data, index, share) -> Any:
            row = share if padded_rows == rows else jnp.minimum(share, rows - 1)
            found = gather(data[0], data[1], index * rows + row, with_targets=objective.stream_targets)
            return found if padded_rows == rows else stream.emptied(found, share < rows)
    else:

        def batch(data, index, share) -> Any:
            found = jax.tree.map(lambda kept: kept.reshape(-1, len(share), kept.shape[-1])[index], data)
            if found.context is None:
                return found
            return found._replace(context=found.context.reshape(*found.items.shape, -1))  # Feed flattens all but rows

    total = losses.build(config.loss, items, item_axis)
    if draw is None:
        trained = model.folding.items.trained if model.folding else np.ones(items, bool)
        total = folding.among_trained(total, trained, item_axis)
    fold, value_and_grad = model.folding.fold if model.folding else None, None
    if split_dense and fold:  # it is given all params, once a step
        fold = lambda params, items: model.folding.fold(split_dense.gathered(params), items)
    elif split_dense:
        value_and_grad = split_dense.value_and_grad
    loss_and_grad = step.loss_and_grad(plain, total, dtype, value_and_grad)
    loss_and_grad = microbatches.accumulated(loss_and_grad, microbatch_rows)
    draw_items = lambda key, tables: folding.dropped(key, tables.items, config.id_dropout, item_axis)
    parts = step.Parts(
        batch=batch,
        make_targets=make_targets,
        sample=draw,
        leaves_out=config.loss.seen == "exclude",
        loss_and_grad=folding.through(fold, loss_and_grad) if fold else loss_and_grad,
        optimiser=optimiser,
        wrap_update=sparse.wrapping(config.optim, plain, optimiser),
        rows=padded_rows,
        loss_divisor=config.batch if config.stream == "session-parallel" else None,
        tables=frozenset([*plain.item_tables, *plain.user_tables]),
        ema=config.optim.ema,
        by_row=() if model.folding else plain.by_row,
        microbatch_rows=microbatch_rows,
        items=draw_items if model.folding else None,
        **norm,
        **({"local": split_dense.local, "summed": split_dense.summed, "packs": False} if split_dense else {}),
    )
    options = compiler.cpu_options() if draw else None
    options = compiler.unjoined_options(shares) or options if split_dense else options
    call, per_device_data = step.call(parts, config.steps_per_call), config.feed == "host"
    first = partial(state_of, config, model, optimiser, padded_rows, split=split_dense)
    if item_axis or split_dense:
        specs = sharding.specs_of(model, optimiser, jax.eval_shape(first, jax.random.key(0)), split_dense)
        run = launch.launch_shard_map(call, mesh, options, per_device_data, specs, sampler_specs, config.seed)
    else:
        launcher = launch.LAUNCHERS["shard_map" if processes.several() else config.launcher]
        specs, run = launch.SPECS, launcher(call, devices, options, per_device_data, seed=config.seed)
    return Setup(
        config=config,
        split=split,
        devices=devices,
        mesh=mesh,
        specs=specs,
        subsequences=subsequences,
        order_of=order_of,
        data=data,
        gather=gather,
        sampler_tables=sampler_tables,
        objective=objective,
        model=whole,
        dense=split_dense,
        optimiser=optimiser,
        first=first,
        whole=partial(state_of, config, whole, optimiser, rows),
        run=run,
        rows=rows,
        padded_rows=padded_rows,
        host_draw=host_draw,
        microbatch_rows=microbatch_rows,
        epoch_steps=epoch_steps,
    )


def target_weights(interactions: Interactions, options: LossOptions) -> np.ndarray | None:
    """The weight of each event's loss as a target, [N] float32, by LossOptions.weight; None: all are equal.

    Raises:
        UserError: the log has no weights, or one is negative.
    """
    if options.weight == "none":
        return None
    if interactions.weights is None:
        raise UserError(
            f"{interactions.name} has no weights, and config.loss.weight is {options.weight}: name their column to "
            "prepare.py with --weight COLUMN, or leave config.loss.weight out"
        )
    weights = np.asarray(interactions.weights)
    if (lowest := weights.min(initial=0)) < 0:
        raise UserError(
            f"{interactions.name} has weights below 0 (one is {lowest:g}), by which no loss can count: leave these "
            "events out (prepare.py --min-rating 0), or set config.loss.weight=none"
        )
    weights = np.minimum(weights, options.weight_clip) if options.weight_clip else weights
    return (np.log1p(weights) if options.weight == "log" else weights).astype(np.float32)


def initial(setup: Setup) -> step.State:
    """The State before the first step, on the default device."""
    return jax.jit(setup.first)(jax.random.key(setup.config.seed))


def state_of(
    config: Config, model: Model, optimiser: Any, rows: int, key: jax.Array, split: Dense | None = None
) -> step.State:
    """The State before the first step.

    Args:
        config: Config.
        model: of the configuration.
        optimiser: as from `optim.optimiser`.
        rows: rows per step, on all devices.
        key: of the initial params.
        split: how params that are no tables of items are split over devices.
    """
    params = model.init(key)
    carry = model.initial_carry(params, rows) if config.stream == "session-parallel" else None
    params = split.padded(params) if split else params
    average = jax.tree.map(jnp.zeros_like, params) if config.optim.ema else None
    return step.State(jnp.int32(0), params, optimiser.init(params), carry, average)


def shapes(setup: Setup) -> step.State:
    """The State of `initial` as shapes and shardings."""
    found = jax.eval_shape(setup.first, jax.random.key(setup.config.seed))
    shardings = launch.placed(setup.mesh, setup.specs)
    return jax.tree.map(lambda where, part: abstract(part, where), shardings, found)


def evaluated(setup: Setup, params: Any) -> Any:
    """The params of a State as they are evaluated: those that are no tables of items whole on every device.

    Args:
        setup: Setup.
        params: on the devices, or shapes with shardings.
    """
    if setup.dense is None:
        return params
    specs: Any = {name: placement.item_spec(setup.mesh) if name in setup.model.item_tables else P() for name in params}
    shardings = launch.placed(setup.mesh, specs)
    cropped = jax.jit(setup.dense.cropped, out_shardings=shardings)
    if isinstance(jax.tree.leaves(params)[0], jax.Array):
        return cropped(params)
    return jax.tree.map(lambda where, part: abstract(part, where), shardings, cropped.eval_shape(params))
