"""Reductions by parts: the same result in a different order."""

import jax
import numpy as np
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as arrays

from jaxrec.kernels import reductions

SHAPES = st.tuples(st.integers(1, 50), st.integers(1, 5)) | st.tuples(st.integers(1, 70)) | st.just(())
ELEMENTS = st.floats(-1e3, 1e3, width=32)


@given(arrays.arrays(np.float32, SHAPES, elements=ELEMENTS | st.sampled_from([-np.inf, np.inf])))
@settings(deadline=None)
def test_the_largest_is_the_largest(x):
    assert reductions.largest(x) == x.max()


def test_what_is_not_a_number_is_not_lost():
    for length in (3, 8, 21):
        for at in range(length):
            x = np.arange(length, dtype=np.float32)
            x[at] = np.nan
            assert np.isnan(reductions.largest(x))


@given(arrays.arrays(np.float32, SHAPES, elements=ELEMENTS))
@settings(deadline=None)
def test_the_total_is_the_sum(x):
    np.testing.assert_allclose(reductions.total(x), x.sum(dtype=np.float64), rtol=1e-5, atol=1e-5 * np.abs(x).sum())


def test_a_row_at_a_time_is_what_vmap_makes_of_it():
    x = np.random.default_rng(0).normal(size=(6, 45)).astype(np.float32)
    np.testing.assert_array_equal(jax.vmap(reductions.largest)(x), x.max(1))
