"""Damaged files of a workdir and of its data: in small what `benchmarks.damage` does."""

from benchmarks import damage


def test_what_is_damaged_is_refused_or_has_no_effect():
    result = damage.main(damages=5, seed=1)
    assert not result["wrong"]
    assert result["outcomes"][damage.REFUSED] and result["outcomes"][damage.BEFORE]
