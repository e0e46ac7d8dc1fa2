"""Damaged files of a workdir and of its data: in small what `benchmarks.damage` does."""

import pytest

from benchmarks import damage


@pytest.mark.slow
def test_what_is_damaged_is_refused_or_has_no_effect():
    """Which files are hit depends on names that Orbax draws: so many damages have every outcome."""
    result = damage.main(damages=60, seed=1)
    assert not result["wrong"] and sum(result["outcomes"].values()) == 3 * 60  # evaluated, served, gone on with
    assert result["outcomes"][damage.REFUSED] and result["outcomes"][damage.BEFORE]
