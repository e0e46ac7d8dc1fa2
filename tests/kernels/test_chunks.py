"""Chunks are about equal, and together they are the whole."""

import numpy as np
from hypothesis import given, strategies as st

from jaxrec.kernels.chunks import chunked


@given(st.integers(1, 300), st.integers(1, 100))
def test_chunks_are_about_equal_and_hold_every_row_once(number, size):
    cut = chunked(np.arange(1, number + 1), size)
    chunks, held = cut.shape
    assert held <= size and chunks * held < number + chunks
    assert cut.ravel()[:number].tolist() == list(range(1, number + 1)) and not cut.ravel()[number:].any()
