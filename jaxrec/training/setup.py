"""Builds what a training consists of: data, objective, model, optimiser, and the program of a call."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec as P

from jaxrec.batches import objectives, stream, target_types
from jaxrec.config.keys import Config
from jaxrec.data.splits import Split
from jaxrec.kernels import compiler, placement, processes, shards
from jaxrec.models.model import Model
from jaxrec.training import batching, launch, sharding
from jaxrec.training.batching import Batches
from jaxrec.training.building import model_of
from jaxrec.training.losses import entry as losses
from jaxrec.training.steps import folding, microbatches, negatives, optim, sparse, step
from jaxrec.training.steps.fsdp import Sharded
from jaxrec.training.steps.host_negatives import HostDraw, given
from jaxrec.training.workdirs.leaves import abstract


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Everything that a training consists of except its state; a function of config, split and devices."""

    config: Any
    split: Any
    devices: list
    mesh: Mesh  #: of the devices
    specs: Any  #: how a State is placed on the mesh, a PartitionSpec for every part of it
    batches: Batches  #: of the training histories
    data: stream.Data  #: on the devices, or on the host
    sampler_tables: Any  #: SamplerTables on the devices
    objective: Any
    model: Any  #: with whole tables, whatever the mesh
    fsdp: Any  #: fsdp.Sharded, if params other than item tables are split; None: they are whole on every device
    optimiser: Any
    first: Any  #: (key) -> the State before the first step, in the form that the devices hold
    whole: Any  #: (key) -> the same State in the form that checkpoints hold, without padding
    run: Any  #: (state, data, sampler_tables, start, end) -> (state, step.StepMetrics)
    host_draw: HostDraw | None  #: draws negatives for batches from the host; None: a step draws its own
    padded_rows: int  #: rows per step on all devices, including empty ones at the end: see `stream.padded`
    microbatch_rows: int  #: rows per microbatch; divides a device's rows

    @property
    def epoch_steps(self) -> int:
        return self.batches.epoch_steps

    @property
    def total_steps(self) -> int:
        return self.config.epochs * self.epoch_steps


def setup(config: Config, split: Split, devices: list) -> Setup:
    """Packs the training histories, places the data on the devices, and builds the program of a call."""
    mesh = sharding.mesh_for(config.mesh, devices)
    shares, item_axis = placement.data_size(mesh), placement.item_axis(mesh)
    objective = target_types.build(config, split)
    batches = batching.batches(config, split, objective)
    data = batching.data_of(config, split, batches)
    if config.feed == "device":
        data = placement.put(data._replace(start=data.start.astype(np.int32)), mesh)
    padded_rows = stream.padded(batches.rows, shares)
    whole = model_of(config, split)
    model = sharding.model_on(whole, mesh)
    plain = model.folding.plain if model.folding else model
    fsdp = sharding.fsdp_for(config.mesh, model, mesh)
    norm = {"norm": partial(sharding.norm, model, fsdp)} if item_axis or fsdp else {}
    optimiser = optim.optimiser(config.optim, config.epochs * batches.epoch_steps, **norm)
    make_targets = partial(objective.make_targets, most=batches.most)
    sampling = _sampling(config, split, mesh, model, objective, batches, make_targets)
    items = len(split.interactions.catalogue.ids)
    microbatch_rows = microbatches.rows_for(config, model, items, padded_rows // shares, devices[0].platform)
    loss_and_grad = _loss_and_grad(config, model, fsdp, items, item_axis, microbatch_rows, not sampling.draw)
    draw_items = lambda key, tables: folding.dropped(key, tables.items, config.id_dropout, item_axis)
    parts = step.Parts(
        batch=batching.reader(config, objective, batches, padded_rows),
        make_targets=make_targets,
        sample=sampling.draw,
        leaves_out=config.loss.seen == "exclude",
        loss_and_grad=loss_and_grad,
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
        **({"local": fsdp.local, "summed": fsdp.psum, "packs": False} if fsdp else {}),
    )
    options = compiler.cpu_options() if sampling.draw else None
    options = compiler.unjoined_options(shares) or options if fsdp else options
    call, per_device_data = step.call(parts, config.steps_per_call), config.feed == "host"
    first = partial(state_of, config, model, optimiser, padded_rows, split=fsdp)
    if item_axis or fsdp:
        specs = sharding.specs_of(model, optimiser, jax.eval_shape(first, jax.random.key(0)), fsdp)
        run = launch.launch_shard_map(call, mesh, options, per_device_data, specs, sampling.specs, config.seed)
    else:
        launcher = launch.LAUNCHERS["shard_map" if processes.several() else config.launcher]
        specs, run = launch.SPECS, launcher(call, devices, options, per_device_data, seed=config.seed)
    return Setup(
        config=config,
        split=split,
        devices=devices,
        mesh=mesh,
        specs=specs,
        batches=batches,
        data=data,
        sampler_tables=sampling.tables,
        objective=objective,
        model=whole,
        fsdp=fsdp,
        optimiser=optimiser,
        first=first,
        whole=partial(state_of, config, whole, optimiser, batches.rows),
        run=run,
        padded_rows=padded_rows,
        host_draw=sampling.host_draw,
        microbatch_rows=microbatch_rows,
    )


class Sampling(NamedTuple):
    """How the negatives of a step are drawn."""

    draw: Any  #: as from `negatives.sampler`; None if there are no negatives
    host_draw: HostDraw | None  #: draws them on the host, for batches from the host; `draw` then passes them on
    tables: Any  #: SamplerTables on the devices
    specs: Any  #: how the tables are placed on the mesh


def _sampling(config, split, mesh, model, objective, batches, make_targets) -> Sampling:
    host_draw, item_axis = None, placement.item_axis(mesh)
    if config.feed == "host" and getattr(config.loss, "sampling", None) == "uniform-unseen":
        host_draw = HostDraw(split, config.loss.negatives, make_targets)
        draw, tables = given, None
    else:
        interactions = split.interactions
        counted = objective, batches.subsequences, interactions.items, len(interactions.catalogue.ids)
        draw, tables = negatives.sampler(
            config.loss, split, placement.AXIS, partial(objectives.expected_targets, *counted)
        )
    specs: Any = P()
    if model.folding:
        tables = (tables or negatives.SamplerTables())._replace(items=model.folding.items)
        specs = negatives.SamplerTables(P(), P(), P(), P(item_axis))
        draw = folding.trained_alone(draw, item_axis) if draw else None
    return Sampling(draw, host_draw, shards.put(tables, specs, mesh, placement.ITEM), specs)


def _loss_and_grad(config, model, fsdp, items, item_axis, microbatch_rows, of_all) -> Callable:
    """Returns the function that computes the loss of a step's batch and its gradient, as `step.Parts` takes it.

    Args:
        of_all: whether targets are compared to the whole catalogue, rather than to negatives.
    """
    total, folded = losses.build(config.loss, items, item_axis), model.folding
    if of_all:
        trained = folded.items.trained if folded else np.ones(items, bool)
        total = folding.among_trained(total, trained, item_axis)
    fold, value_and_grad = folded.fold if folded else None, None
    if fsdp and folded:  # the fold takes all params whole, once per step
        fold = lambda params, items: folded.fold(fsdp.gathered(params), items)
    elif fsdp:
        value_and_grad = fsdp.value_and_grad
    plain = folded.plain if folded else model
    found = step.loss_and_grad(plain, total, jnp.dtype(config.precision), value_and_grad)
    found = microbatches.accumulated(found, microbatch_rows)
    return folding.through(fold, found) if fold else found


def initial(setup: Setup) -> step.State:
    """Returns the State before the first step, on the default device."""
    return jax.jit(setup.first)(jax.random.key(setup.config.seed))


def state_of(
    config: Config, model: Model, optimiser: Any, rows: int, key: jax.Array, split: Sharded | None = None
) -> step.State:
    """Returns the State before the first step.

    Args:
        config: Config.
        model: the model of the configuration.
        optimiser: as from `optim.optimiser`.
        rows: rows per step, on all devices.
        key: the random key of the initial params.
        split: how params other than item tables are split over devices, if they are.
    """
    params = model.init(key)
    carry = model.initial_carry(params, rows) if config.stream == "session-parallel" else None
    params = split.padded(params) if split else params
    average = jax.tree.map(jnp.zeros_like, params) if config.optim.ema else None
    return step.State(jnp.int32(0), params, optimiser.init(params), carry, average)


def shapes(setup: Setup) -> step.State:
    """Returns the State of `initial` as shapes and shardings."""
    found = jax.eval_shape(setup.first, jax.random.key(setup.config.seed))
    shardings = launch.placed(setup.mesh, setup.specs)
    return jax.tree.map(lambda where, part: abstract(part, where), shardings, found)


def evaluated(setup: Setup, params: Any) -> Any:
    """Returns the params of a State as evaluations take them: all but the item tables are whole on every device.

    Args:
        setup: Setup.
        params: arrays on the devices, or shapes with shardings.
    """
    if setup.fsdp is None:
        return params
    specs: Any = {name: placement.item_spec(setup.mesh) if name in setup.model.item_tables else P() for name in params}
    shardings = launch.placed(setup.mesh, specs)
    cropped = jax.jit(setup.fsdp.cropped, out_shardings=shardings)
    if isinstance(jax.tree.leaves(params)[0], jax.Array):
        return cropped(params)
    return jax.tree.map(lambda where, part: abstract(part, where), shardings, cropped.eval_shape(params))
