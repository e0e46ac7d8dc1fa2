"""Laws of masks, against double loops over the slots."""

import math

import jax
import numpy as np
import pytest
from hypothesis import given, strategies as st

from jaxrec.kernels.hardware import Hardware, assumed
from jaxrec.kernels.masks import alibi_bias, causal, distance_buckets, from_end, same_sequence

SLOTS = 16
same_sequence_of, causal_of, from_end_of = jax.jit(same_sequence), jax.jit(causal), jax.jit(from_end)


@st.composite
def rows(draw):
    """Segments and positions of one row: sequences back to back, then empty slots."""
    segments, positions = np.zeros(SLOTS, np.int32), np.zeros(SLOTS, np.int32)
    begin = 0
    for number, length in enumerate(draw(st.lists(st.integers(1, 9), max_size=6)), 1):
        end = min(begin + length, SLOTS)
        segments[begin:end], positions[begin:end] = number, np.arange(end - begin)
        begin = end
        if begin == SLOTS:
            break
    return segments, positions


@given(rows())
def test_same_sequence_is_the_same_segment(row):
    segments, _ = row
    wanted = [[segments[q] == segments[k] for k in range(SLOTS)] for q in range(SLOTS)]
    np.testing.assert_array_equal(same_sequence_of(segments), wanted)


@given(rows())
def test_causal_is_the_same_sequence_and_not_later(row):
    segments, positions = row
    mask = np.asarray(causal_of(segments, positions))
    for query in range(SLOTS):
        for key in range(SLOTS):
            if segments[query] > 0:
                assert mask[query, key] == (segments[key] == segments[query] and key <= query)
            else:
                assert mask[query, key] == (segments[key] == 0)


@given(st.integers(1, 8), st.integers(0, 9), st.integers(0, 9))
def test_alibi_bias_falls_by_each_heads_slope(heads, begin, keys_end):
    bias = np.asarray(alibi_bias(heads, np.arange(begin, 10), np.arange(keys_end)))
    for head, query, key in np.ndindex(bias.shape):
        wanted = -(2.0 ** (-8 * (head + 1) / heads)) * abs(query + begin - key)
        np.testing.assert_allclose(bias[head, query, key], wanted, rtol=1e-6)


@given(rows())
def test_every_slot_sees_itself(row):
    assert np.diagonal(causal_of(*row)).all()


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
@given(row=rows())
def test_from_end_counts_the_slots_that_follow_in_the_sequence(platform, row):
    segments, _ = row
    with assumed(Hardware(platform)):
        counted = np.asarray(from_end_of(segments))
    assert counted.dtype == np.int32
    for slot in np.flatnonzero(segments):
        assert counted[slot] == (segments[slot + 1 :] == segments[slot]).sum()
    newest = np.flatnonzero(np.diff(np.append(segments, -1)))
    assert not counted[newest].any()


@given(rows())
def test_from_end_and_from_start_add_up_to_the_length(row):
    segments, positions = row
    for number in range(1, segments.max() + 1):
        at = segments == number
        np.testing.assert_array_equal((np.asarray(from_end_of(segments)) + positions)[at], at.sum() - 1)


def test_buckets_of_distances_are_those_of_t5():
    """The near half has a distance each, the rest are logarithmic up to the far ones, and no bucket is unused."""
    buckets = distance_buckets(1000)
    for distance, bucket in enumerate(buckets.tolist()):
        wide = 16 + int(math.log(max(distance, 1) / 16) / math.log(128 / 16) * 16)
        assert bucket == (distance if distance < 16 else min(wide, 31))
    assert set(buckets.tolist()) == set(range(32))
    assert (distance_buckets(20) == buckets[:20]).all()
