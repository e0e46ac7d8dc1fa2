"""Encodes histories into hidden vectors, packed as in training, for evaluation and recommendation."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from jaxrec.batches import stream
from jaxrec.batches.objectives import Objective
from jaxrec.data.storage import maps
from jaxrec.kernels import compiler, placement as dev, processes, sizes
from jaxrec.kernels.placement import AXIS
from jaxrec.models.model import Model
from jaxrec.models.sharded import specs

BATCHES = 64  # batches of rows sent at once from the host to each device


class Histories(NamedTuple):
    """Packed histories in batches of rows, with the slots to read; on the devices, or all on the host."""

    data: stream.Data
    order: stream.Order
    rows: Any  #: [batches, R] rows of a batch
    slot: Any  #: [batches, R, M] slots to read of each row; 0 if none
    kept: Any  #: [batches, K] which of a batch's R x M slots belong to a question; 0 if none
    question: np.ndarray  #: [batches, K] the question of each kept slot; -1 if none
    total: int


class Encoder(NamedTuple):
    """A jitted program that encodes batches of rows, called with all Histories."""

    #: (params, data, order, rows, slot, kept) -> hidden [batches, K, D]; with `host` (params, streams, slot, kept)
    program: Any
    devices: dev.Devices
    host: bool = False  #: whether the histories are on the host, and are sent a few batches at a time

    def __call__(self, params: Any, histories: Histories) -> np.ndarray:
        if self.host:
            hidden_BKD = np.concatenate(
                [processes.whole(self.program(params, *part)) for part in self._parts(histories)]
            )
            hidden_BKD = hidden_BKD[: len(histories.rows)]
        else:
            hidden_BKD = processes.whole(self.program(params, *histories[:5]))
        asked = histories.question >= 0
        hidden_QD = np.empty((histories.total, hidden_BKD.shape[-1]), np.float32)
        hidden_QD[histories.question[asked]] = hidden_BKD[asked]
        return hidden_QD

    def trace(self, params: Any, histories: Histories) -> jax.stages.Traced:
        """Traces the program, as `trace` of a jitted function does."""
        return self.program.trace(params, *(next(self._parts(histories)) if self.host else histories[:5]))

    def _parts(self, histories):
        """Yields (streams, slot, kept) of some batches on the devices. The last batch is repeated to fill up."""
        batches, shares = len(histories.rows), dev.data_size(self.devices)
        number, own = min(BATCHES * shares, batches), dev.own_shares(self.devices)
        for first in range(0, batches, number):
            at = np.minimum(np.arange(first, first + number), batches - 1).reshape(shares, -1)[own].ravel()
            rows_BR = histories.rows[at]
            found = stream.gather(histories.data, histories.order, rows_BR.ravel(), with_targets=False)
            maps.release(histories.data.items)
            found = jax.tree.map(lambda x: x.reshape(*rows_BR.shape, *x.shape[1:]), found)  # noqa: B023
            yield dev.spread_own((found, histories.slot[at], histories.kept[at]), self.devices)


def pack_histories(
    items: np.ndarray,
    start: np.ndarray,
    stop: np.ndarray,
    length: int,
    width: int,
    devices: dev.Devices,
    num_mask_slots: int = 0,
    user_index: np.ndarray | None = None,
    context: np.ndarray | None = None,
    host: bool = False,
) -> Histories:
    """Packs the histories of questions, the newest items of each items[start:stop].

    Args:
        items: [N] int, the flat histories.
        start: [Q] the index at which each history begins.
        stop: [Q] the index at which it ends.
        length: the maximum number of slots of a history.
        width: the slots of a row.
        devices: the devices to encode on, or a mesh of them.
        num_mask_slots: slots after each history for the objective to mask.
        user_index: [Q] int32, the users, -1 for unknown ones; by default all are unknown.
        context: [N, K], as in stream.Data.
        host: whether to keep all arrays on the host, for an encoder with `host`.
    """
    subsequences = stream.history_subsequences(start, stop, length, num_mask_slots)
    user_index = np.full(len(start), -1, np.int32) if user_index is None else user_index
    subsequences = subsequences._replace(user_index=user_index)
    shares = dev.data_size(devices)
    packed = stream.pack(subsequences.length, width)
    share = lambda number: -(-max(number, 1) // shares)
    batch = sizes.encoded_rows(share(packed[1]), width, share(len(subsequences.length)))
    layout, order_of = stream.packing_layout(subsequences.length, width, batch * shares, host=host, packed=packed)
    rows = layout.rows
    spread = np.random.default_rng(0).permutation(rows)  # rows with many short histories are adjacent, so shuffle
    place = np.arange(len(order_of))
    row_of = np.searchsorted(layout.first, place, side="right") - 1
    column = place - layout.first[row_of]
    slot = np.zeros((rows, column.max(initial=0) + 1), np.int32)
    slot[row_of, column] = layout.begin + subsequences.length[order_of] - 1
    # M is set by the fullest row, but most rows hold fewer histories: keep only the slots of questions.
    batch_of, within = np.divmod(np.argsort(spread)[row_of], batch)
    by_batch = np.argsort(batch_of, kind="stable")
    count = np.bincount(batch_of, minlength=rows // batch)
    at = batch_of[by_batch], place - np.repeat(np.cumsum(count) - count, count)
    kept = np.zeros((rows // batch, count.max(initial=1)), np.int32)
    kept[at] = (within * slot.shape[1] + column)[by_batch]
    question = np.full(kept.shape, -1, np.int64)
    question[at] = order_of[by_batch]
    rows_BR = spread.reshape(-1, batch).astype(np.int32)
    begin = subsequences.start if host else subsequences.start.astype(np.int32)
    data = stream.Data(items, begin, subsequences.user_index, layout, context)
    order = stream.Order(order_of, np.arange(rows, dtype=np.int32))
    if host:
        return Histories(data, order, rows_BR, slot[rows_BR], kept, question, len(start))
    data, order = dev.put((data, order), devices)
    rows_BR, slot_BR, kept_BR = dev.spread((rows_BR, slot[rows_BR], kept), devices)
    return Histories(data, order, rows_BR, slot_BR, kept_BR, question, len(start))


def encoder(model: Model, objective: Objective, devices: dev.Devices, host: bool = False) -> Encoder:
    """Returns a function (params, Histories) -> hidden [Q, D] on the host, compiled once per shape.

    The params are placed on the devices as in `models.sharded.specs`. host: whether the histories are on the host.
    """

    def encode(params, histories, slot_RM, kept_K):
        hidden_RMD = model.encode_at(params, objective.mask_inputs(histories), slot_RM)
        hidden_KD = hidden_RMD.reshape(-1, hidden_RMD.shape[-1])[kept_K]
        return model.head(params, hidden_KD).astype(jnp.float32)

    def batches(params, data, order, rows_BR, slot_BRM, kept_BK):
        gather = lambda rows_R: stream.gather(data, order, rows_R, with_targets=False)
        one = lambda batch: encode(params, gather(batch[0]), *batch[1:])
        return jax.lax.map(one, (rows_BR, slot_BRM, kept_BK))

    def sent(params, *batches):
        return jax.lax.map(lambda batch: encode(params, *batch), batches)

    def on_devices(params, *args):
        split_args = (P(AXIS), P(AXIS), P(AXIS))
        in_specs = (specs(model, params), *split_args) if host else (specs(model, params), P(), P(), *split_args)
        split = partial(jax.shard_map, mesh=dev.mesh_of(devices), in_specs=in_specs, check_vma=False)
        return split(sent if host else batches, out_specs=P(AXIS))(params, *args)

    return Encoder(jax.jit(on_devices, compiler_options=compiler.cpu_options()), devices, host)
