"""Laws of the items that a slot's loss leaves out: those that its user has in training, wherever they are stored."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings, strategies as st

from jaxrec.training.steps.negatives import Seen
from jaxrec.training.steps.own_items import ENTRIES, OwnItems

ITEMS, SLOTS = 12, 5
histories = st.lists(st.sets(st.integers(1, ITEMS)), min_size=3, max_size=3)
marked = jax.jit(OwnItems.left_out, static_argnums=(2, 3))


def shifted(item):
    """The rows in a share of the table that begins at item 3; other items have no row there."""
    return jnp.where((item > 2) & (item < ITEMS), item - 3, ITEMS - 3)


@settings(max_examples=30)
@given(histories, st.lists(st.integers(-1, 2), min_size=SLOTS, max_size=SLOTS))
def test_a_slot_has_all_items_of_its_user_that_are_in_the_table(histories, users):
    items = np.zeros(3 * ITEMS, np.int32)  # of one length: one program
    flat = [item for history in histories for item in sorted(history)]
    items[: len(flat)] = flat
    seen = Seen(jnp.asarray(items), jnp.asarray(np.append(0, np.cumsum(list(map(len, histories)))), jnp.int32))
    found = np.asarray(marked(OwnItems(None, seen), jnp.array(users), shifted, ITEMS - 3))
    for slot, user in zip(found, users, strict=True):
        assert (
            set((np.flatnonzero(slot) + 3).tolist()) == {*histories[user]} - {1, 2, ITEMS}
            if user >= 0
            else not slot.any()
        )


def test_histories_that_are_longer_than_what_is_marked_at_once_are_marked_whole():
    number = 3 * ENTRIES * SLOTS
    seen = Seen(jnp.arange(1, 2 * number + 1, dtype=jnp.int32), jnp.array([0, number, 2 * number]))
    found = np.asarray(marked(OwnItems(None, seen), jnp.array([1, 1, -1, 0, 1]), lambda item: item - 1, 2 * number))
    first, second = np.arange(2 * number) < number, np.arange(2 * number) >= number
    np.testing.assert_array_equal(found, [second, second, 0 * second, first, second])
