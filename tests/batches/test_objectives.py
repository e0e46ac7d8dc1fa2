"""Laws of objectives: what is masked, what the targets are, where predictions are read."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from jaxrec.batches.objectives import MASK, cloze, masked, next_item, without_query_time
from jaxrec.batches.stream import Stream
from jaxrec.kernels.random import row_keys

ROWS, SLOTS = 3, 12
rows = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=ROWS)


def packed(rows, number=0):
    """Returns the Stream of sequences of these lengths: each slot has its own item, and the next number as target.

    Empty rows are added up to `number`, so that few shapes are compiled.
    """
    stream = Stream(*np.zeros((5, max(number, len(rows)), SLOTS), np.int32))
    item, user_index = 0, 0
    for row, lengths in enumerate(rows):
        begin = 0
        for number, length in enumerate(lengths, 1):
            if begin + length > SLOTS:
                break
            at = slice(begin, begin := begin + length)
            stream.items[row, at] = item + 1 + np.arange(length)
            stream.targets[row, at] = stream.items[row, at] + 1
            stream.segments[row, at], stream.positions[row, at] = number, np.arange(length)
            stream.user_index[row, at] = user_index
            item, user_index = item + length + 1, user_index + 1
    return jax.tree.map(jnp.asarray, stream)


def made(objective, stream, seed=0):
    keys = row_keys(seed, 0, jnp.arange(len(stream.items)))
    return jax.tree.map(np.asarray, objective.make_targets(stream, keys, most_of(objective, stream)))


def most_of(objective, stream):
    """Returns the largest number of targets of a row, counted as in training: from the lengths of its sequences."""
    counts = [
        objective.count(np.unique(row[row > 0], return_counts=True)[1]).sum() if (row > 0).any() else 0
        for row in np.asarray(stream.segments)
    ]
    return int(max(counts))


@settings(max_examples=6)
@given(rows, st.sampled_from([0.0, 0.2, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 2**32 - 1))
def test_of_every_sequence_an_exact_number_is_masked_and_a_target(rows, rate, last, seed):
    objective, stream = cloze(rate, last), packed(rows, ROWS)
    shown, targets = made(objective, stream, seed)
    items, segments = np.asarray(stream.items), np.asarray(stream.segments)
    hidden = shown.items == MASK
    np.testing.assert_array_equal(shown.items, np.where(hidden, MASK, items))
    assert not hidden[items == 0].any()
    for row in range(len(items)):
        for segment in range(1, segments[row].max() + 1):
            here = segments[row] == segment
            assert hidden[row, here].sum() == max(np.round(rate * here.sum()), 1) == masked(rate, SLOTS)[here.sum()]
            if last == 1.0:
                assert hidden[row, np.flatnonzero(here)[-1]]
        real = targets.items[row] > 0
        assert sorted(targets.slots[row, real]) == np.flatnonzero(hidden[row]).tolist()
        np.testing.assert_array_equal(targets.items[row, real], items[row, targets.slots[row, real]])
        users = np.asarray(stream.user_index)[row, targets.slots[row, real]]
        np.testing.assert_array_equal(targets.user_index[row, real], users)


def test_a_mask_is_shown_when_it_asks_and_nothing_of_its_event():
    """Other slots show their events, and no query time, in training and at inference."""
    asked = np.array([False, True])
    objective, stream = cloze(0.4, 0.5, asked), packed([[5, 4], [2]])
    stream = stream._replace(context=jnp.stack([stream.items, stream.items], axis=-1))
    for shown in (made(objective, stream)[0], jax.tree.map(np.asarray, objective.mask_inputs(stream))):
        hidden, items = shown.items == MASK, np.asarray(stream.items)
        assert hidden.any()
        np.testing.assert_array_equal(shown.context[..., 0], np.where(hidden, 0, items))
        np.testing.assert_array_equal(shown.context[..., 1], np.where(hidden, items, 0))
    untold = without_query_time(objective, asked).mask_inputs(stream)
    assert (np.asarray(untold.context)[..., 1] == 0).all()
    untold = without_query_time(next_item(), asked).mask_inputs(stream).context
    newest = np.isin(np.arange(SLOTS), [4, 8]) | (np.arange(2)[:, None] > 0) & (np.arange(SLOTS) == 1)
    newest[1, [4, 8]] = False
    np.testing.assert_array_equal(untold[..., 0], stream.items)
    np.testing.assert_array_equal(untold[..., 1], np.where(newest, 0, stream.items))


def test_what_is_hidden_is_uniform_but_for_the_newest():
    stream = packed([[8], [8]])

    def drawn(last):
        objective = cloze(0.25, last)
        keys = lambda seed: row_keys(seed, 0, jnp.arange(2))
        return jax.jit(lambda seed: objective.make_targets(stream, keys(seed), 2)[0].items == MASK)

    draw, often = drawn(0.0), drawn(0.5)
    counts = np.zeros(SLOTS)
    for seed in range(400):
        counts += np.asarray(draw(seed)).sum(0)
    assert (np.abs(counts[:8] - 200) < 5 * np.sqrt(200)).all() and not counts[8:].any()
    newest = np.mean([np.asarray(often(seed))[:, 7].mean() for seed in range(400)])
    assert newest == pytest.approx(0.5 + 0.5 * 0.25, abs=0.08)


def test_each_step_and_row_draws_anew_and_the_same_again():
    stream, objective = packed([[11], [11]]), cloze(0.5, 0.0)
    one, again, other = (made(objective, stream, seed)[0].items for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any() and ((one[0] == MASK) != (one[1] == MASK)).any()


@given(rows, st.integers(1, 4))
def test_the_items_to_come_are_targets_within_the_sequence(rows, ahead):
    objective, stream = next_item(ahead), packed(rows, ROWS)
    shown, targets = made(objective, stream)
    np.testing.assert_array_equal(shown.items, stream.items)
    wanted, found = Counter(), Counter()
    items, nexts, segments = (np.asarray(x) for x in (stream.items, stream.targets, stream.segments))
    for row in range(len(items)):
        for slot in np.flatnonzero(items[row]):
            for n in range(ahead):
                if slot + n < SLOTS and segments[row, slot + n] == segments[row, slot]:
                    wanted[row, slot, nexts[row, slot + n]] += 1
        slots = np.arange(SLOTS) if targets.slots is None else targets.slots[row]
        found.update((row, slot, target) for slot, target in zip(slots, targets.items[row], strict=True) if target)
    assert found == wanted
    lengths = np.concatenate([np.unique(row[row > 0], return_counts=True)[1] for row in segments])
    assert objective.count(lengths).sum() == sum(wanted.values())


@given(rows, st.integers(1, 3), st.integers(1, 4))
def test_of_windows_that_overlap_only_the_newest_slots_are_asked(rows, ahead, newest):
    """Each item is a target as often as `ahead` and the slots before it allow, with no more slots than needed."""
    stream, objective = packed(rows, ROWS), next_item(ahead, newest)
    shown, targets = made(objective, stream)
    assert shown is stream or shown.items.tolist() == np.asarray(stream.items).tolist()
    whole, found = Counter(), Counter()
    items, nexts, segments = (np.asarray(x) for x in (stream.items, stream.targets, stream.segments))
    for row in range(len(items)):
        for segment in range(1, segments[row].max() + 1):
            at = np.flatnonzero(segments[row] == segment)
            for asked in at[max(len(at) - newest, 0) :]:
                whole.update((row, slot, nexts[row, asked]) for slot in range(max(asked - ahead + 1, at[0]), asked + 1))
        slots = np.arange(SLOTS) if targets.slots is None else targets.slots[row]
        real = targets.items[row] > 0
        found.update((row, slot, target) for slot, target in zip(slots[real], targets.items[row][real], strict=True))
        np.testing.assert_array_equal(targets.user_index[row][real], np.asarray(stream.user_index)[row, slots[real]])
    assert found == whole
    assert targets.items.shape[1] <= max(most_of(objective, stream), 1) or most_of(objective, stream) >= SLOTS


@given(rows)
def test_an_answer_is_read_at_a_mask_in_place_of_the_newest_slot(rows):
    stream = packed(rows, ROWS)
    shown = np.asarray(cloze(0.2, 0.1).mask_inputs(stream).items)
    segments = np.asarray(stream.segments)
    ends = (segments > 0) & (np.append(segments[:, 1:], np.zeros((len(segments), 1)), 1) != segments)
    np.testing.assert_array_equal(shown, np.where(ends, MASK, stream.items))
    assert next_item().mask_inputs(stream) is stream
    assert (cloze(0.2, 0.1).num_mask_slots, next_item().num_mask_slots) == (1, 0)
