"""Damaged files of a workdir and its data: what `benchmarks.damage` does, on a small scale."""

import pytest

from benchmarks import damage


@pytest.mark.slow
def test_what_is_damaged_is_refused_or_has_no_effect():
    """Which files are hit depends on names that Orbax draws; with this many damages, every outcome occurs."""
    result = damage.main(damages=60, seed=1)
    assert not result["wrong"] and sum(result["outcomes"].values()) == 3 * 60  # evaluated, served, resumed
    assert result["outcomes"][damage.REFUSED] and result["outcomes"][damage.BEFORE]
