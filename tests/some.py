"""Which of a test's cases always run, and which only in the slow run."""

import pytest


def some(values, *quick):
    """These values as parameters, all but the `quick` ones marked as slow."""
    of = lambda value: value if isinstance(value, tuple) else (value,)
    return [pytest.param(*of(value), marks=() if value in quick else pytest.mark.slow) for value in values]
