"""Which of a test's cases are run always, and which by the slow run alone."""

import pytest


def some(values, *quick):
    """Of these values the quick ones, and the others where slow tests are run too."""
    of = lambda value: value if isinstance(value, tuple) else (value,)
    return [pytest.param(*of(value), marks=() if value in quick else pytest.mark.slow) for value in values]
