"""Batches spread over devices are each answered once, as if alone, in as few calls as their shapes allow."""

from collections import Counter

import jax
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from jaxrec.inference.spread import Spread


def answer(params, x_BT, y_B):
    return x_BT * params + (0 if y_B is None else y_B[:, None]), x_BT.sum(1)


@pytest.fixture(scope="module")
def spreads():
    """One for each number of devices, so that its programs are compiled once."""
    return {number: Spread(answer, jax.devices()[:number]) for number in (1, 3, 8)}


@given(lengths=st.lists(st.tuples(st.integers(1, 2), st.booleans()), max_size=20), number=st.sampled_from([1, 3, 8]))
@settings(max_examples=8)
def test_every_batch_is_answered_as_alone(spreads, lengths, number):
    random = np.random.default_rng(0)
    batches = [
        (random.normal(size=(4, T)).astype(np.float32), random.normal(size=4).astype(np.float32) if more else None)
        for T, more in lengths
    ]
    spread, calls = spreads[number], []
    spread._program, run = lambda *args: calls.append(1) or run(*args), spread._program
    try:
        found = list(spread(np.float32(1.7), enumerate(batches)))
    finally:
        spread._program = run
    assert sorted(key for key, _ in found) == list(range(len(batches)))
    for key, answers in found:
        (_, alone), *_ = spreads[1](np.float32(1.7), [(0, batches[key])])
        assert len(answers) == 2
        for ours, theirs in zip(answers, alone, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert len(calls) == sum(-(-count // number) for count in Counter(lengths).values())
