"""What is printed about a training before it begins."""

from types import SimpleNamespace

from hypothesis import given, settings, strategies as st

from jaxrec.data import interactions
from jaxrec.training import wording


@given(st.integers(2, 12), st.integers(1, 60))
@settings(max_examples=50, deadline=None)
def test_a_length_far_beyond_the_longest_history_is_named_with_one_that_shows_as_much(longest, length):
    data = interactions.from_sequences([range(1, longest + 1), [1, 2]])
    said = wording.of_length(SimpleNamespace(length=length, row=length), data)
    assert bool(said) == (length > wording.FAR * longest)
    assert not said or f"config.length={longest} and config.row={longest} shows" in said
