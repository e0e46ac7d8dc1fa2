"""The items that the users of a batch's slots have in training, which a loss may leave out of its comparisons."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

ENTRIES = 4  # items of histories that are marked at once, per slot


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class OwnItems:
    """The users of N slots, and the training items of all users."""

    users: Any  #: [N] int32; -1 for slots without a user
    seen: Any  #: negatives.Seen of all users
    item_to_row: Any = None  #: [V + 1] int32, each item's number in the table that is scored; None: they are the same

    def left_out(self, users_C: jax.Array, row_of: Any, rows: int) -> jax.Array:
        """Returns which rows of a table are training items of each slot's user. [C, rows] bool

        Consecutive slots of one user share a mask, in which the items of the history are marked once.

        Args:
            users_C: the users of the slots.
            row_of: (numbers of items [E], from 1) -> their rows [E]; `rows` for an item that is not in the table.
            rows: the number of rows of the table.

        >>> from jaxrec.training.steps.negatives import Seen
        >>> own = OwnItems(None, Seen(jnp.array([2, 3, 1]), jnp.array([0, 2, 3])))
        >>> own.left_out(jnp.array([0, 0, 1, -1]), lambda item: item - 1, 3).astype(int).tolist()
        [[0, 1, 1], [0, 1, 1], [1, 0, 0], [0, 0, 0]]
        """
        slots, entries = len(users_C), ENTRIES * len(users_C)
        run_C = jnp.cumsum(jnp.append(0, (users_C[1:] != users_C[:-1]).astype(jnp.int32)))
        user_S = jnp.full(slots, -1, jnp.int32).at[run_C].set(users_C)
        begin_S = self.seen.offsets[jnp.maximum(user_S, 0)]
        length_S = jnp.where(user_S < 0, 0, self.seen.offsets[jnp.maximum(user_S, 0) + 1] - begin_S)
        end_S = jnp.cumsum(length_S)

        def mark(loop):
            done, mask_SV = loop
            ended = jnp.zeros(entries + 1, jnp.int32).at[jnp.clip(end_S - done, 0, entries)].add(1)
            run_E = jnp.cumsum(ended)[:entries]  # the number of runs that ended before
            at_E = (begin_S - (end_S - length_S))[run_E] + done + jnp.arange(entries)
            item_E = self.seen.items.at[at_E].get(mode="clip")
            item_E = item_E if self.item_to_row is None else self.item_to_row[item_E]
            return done + entries, mask_SV.at[run_E, row_of(item_E)].set(True, mode="drop")

        # nothing is marked yet; computed so, the arrays vary over the devices like the results of the loop
        none = end_S[-1] * 0, jnp.broadcast_to((users_C < -1)[:, None] & (row_of(users_C) < -2)[:, None], (slots, rows))
        return jax.lax.while_loop(lambda loop: loop[0] < end_S[-1], mark, none)[1][run_C]
