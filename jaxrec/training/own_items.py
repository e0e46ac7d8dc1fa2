"""The items of the sequences that a batch's slots belong to, which a loss may leave out of a slot's comparison."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxrec.batches.objectives import Targets
from jaxrec.batches.stream import Stream


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class OwnItems:
    """The items of the sequences of R rows, and which slots of their N = R x M targets belong to each sequence."""

    items: Any  #: [R, E] int32; 0 stands for none
    of: Any  #: [R, E] int32, the sequence of the row that each is of: 0, 1, ...; -1: of none that asks
    slots: Any  #: [R, M] int32, the sequence of the row that each slot belongs to, never falling along a row

    def split(self, number: int) -> "OwnItems":
        """The OwnItems of `number` equal parts of the rows, on a new leading axis."""
        return jax.tree.map(lambda x: x.reshape(number, -1, *x.shape[1:]), self)

    def numbered(self) -> "OwnItems":
        """All as one row, of sequences that are numbered from row to row."""
        begin = jnp.cumsum(self.slots[:, -1] + 1) - (self.slots[:, -1] + 1)
        of = jnp.where(self.of < 0, -1, self.of + begin[:, None])
        return OwnItems(*(x.reshape(-1) for x in (self.items, of, self.slots + begin[:, None])))

    def left_out(self, first: jax.Array, sequences: int, row_of: Any, rows: int) -> jax.Array:
        """Which rows of a table are items of the sequences first, first + 1, ...; of all `numbered`.

        Args:
            first: [] int32.
            sequences: how many.
            row_of: items [E] 1..V -> their rows [E]; `rows` for one that is not in the table.
            rows: of the table.

        Returns:
            [sequences, rows] bool.
        """
        place = jnp.where((self.items > 0) & (self.of >= first), self.of - first, sequences)
        mask = jnp.zeros((sequences, rows), bool)
        return mask.at[place, row_of(jnp.maximum(self.items, 1))].set(True, mode="drop")


def of_batch(stream: Stream, targets: Targets) -> OwnItems:
    """The items of a batch's sequences: what the model is shown of each, and its targets.

    Args:
        stream: Stream of rows [R, T], as the model is shown it.
        targets: Targets of it, whose slots follow one another.

    >>> shown = Stream(jnp.array([[4, 5, 7, 0]]), None, jnp.array([[1, 1, 2, 0]]), None, None)
    >>> own = of_batch(shown, Targets(jnp.array([[5, 6, 8, 0]]), None, None))
    >>> own.items.tolist(), own.of.tolist(), own.slots.tolist()
    ([[4, 5, 7, 0, 5, 6, 8, 0]], [[0, 0, 1, -1, 0, 0, 1, -1]], [[0, 0, 1, 1]])
    """
    segments, at = stream.segments, targets.slots
    segment_RM = segments if at is None else jnp.take_along_axis(segments, at, axis=1)
    segment_RM = jnp.where(targets.items > 0, segment_RM, 0)
    last_RM = jax.lax.cummax(segment_RM, axis=1)  # a slot that asks for nothing counts to the sequence before it
    changes = last_RM[:, 1:] != last_RM[:, :-1]
    slots_RM = jnp.cumsum(jnp.pad(changes, ((0, 0), (1, 0))).astype(jnp.int32), axis=1)
    rows = jnp.arange(len(segments))[:, None]
    ranks = jnp.full((len(segments), segments.shape[1] + 1), -1, jnp.int32).at[rows, last_RM].max(slots_RM)
    ranks = ranks.at[:, 0].set(-1)  # of no sequence
    items = jnp.concatenate([jnp.maximum(stream.items, 0), targets.items], axis=1)
    return OwnItems(items, ranks[rows, jnp.concatenate([segments, segment_RM], axis=1)], slots_RM)
