"""Laws of the items that a slot's loss leaves out: those of its own sequence, whatever is asked of it."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from streams import ROWS, SLOTS, applied, packed

from jaxrec.batches.objectives import cloze, next_item
from jaxrec.training.own_items import of_batch

OBJECTIVES = {
    "next item": next_item(),
    "newest slots": next_item(newest=2),
    "cloze": cloze(0.4, 0.5),
}
rows = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=ROWS)


def of_slots(own, targets):
    """The items of each slot that asks: {(row, slot): items}."""
    return {
        (row, slot): set(own.items[row][(own.of[row] == own.slots[row, slot]) & (own.items[row] > 0)].tolist())
        for row, slot in zip(*np.nonzero(targets.items), strict=True)
    }


@pytest.mark.parametrize("name", OBJECTIVES)
@settings(max_examples=10)
@given(rows, st.integers(0, 2**32 - 1))
def test_they_are_what_is_shown_and_what_is_asked_of_the_sequence(name, drawn, seed):
    stream = packed(drawn, ROWS)
    shown, targets = applied(OBJECTIVES[name], stream, seed)
    own = jax.tree.map(np.asarray, of_batch(shown, targets))
    assert (np.diff(own.slots, axis=1) >= 0).all()
    segments, at = np.asarray(stream.segments), targets.slots
    for (row, slot), items in of_slots(own, targets).items():
        here = segments[row, slot if at is None else at[row, slot]]
        seen = shown.items[row][segments[row] == here]
        of_target = segments[row] if at is None else segments[row][at[row]]
        wanted = targets.items[row][(of_target == here) & (targets.items[row] > 0)]
        assert items == {*seen[seen > 0].tolist(), *wanted.tolist()}


@settings(max_examples=10)
@given(rows)
def test_numbered_over_all_rows_they_are_those_of_each_row_and_no_number_is_left_out(drawn):
    shown, targets = applied(next_item(), packed(drawn, ROWS))
    own = of_batch(shown, targets)
    apart, joined = jax.tree.map(np.asarray, (own, own.numbered()))
    found = of_slots(apart, targets)
    for (row, slot), items in found.items():
        number = joined.slots[row * SLOTS + slot]
        assert set(joined.items[(joined.of == number) & (joined.items > 0)].tolist()) == items
    assert set(np.diff(joined.slots).tolist()) <= {0, 1}
    for name, whole in vars(apart).items():
        np.testing.assert_array_equal(getattr(own.split(ROWS), name)[:, 0], whole)


@given(rows, st.integers(0, 4), st.integers(1, 6))
@settings(max_examples=10)
def test_a_mask_has_the_items_of_some_sequences_one_after_another(drawn, first, sequences):
    shown, targets = applied(next_item(), packed(drawn, ROWS))
    own = of_batch(shown, targets).numbered()
    rows = 60  # fewer than the items of the largest draws
    row_of = lambda item: np.where(np.asarray(item) <= rows, np.asarray(item) - 1, rows)
    mask = np.asarray(own.left_out(np.int32(first), sequences, row_of, rows))
    wanted = np.zeros((sequences, rows), bool)
    for item, sequence in zip(own.items.tolist(), own.of.tolist(), strict=True):
        if 0 < item <= rows and first <= sequence < first + sequences:
            wanted[sequence - first, item - 1] = True
    np.testing.assert_array_equal(mask, wanted)
