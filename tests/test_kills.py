"""Killed processes of a job: what `benchmarks.kills` does, on a small scale."""

import pytest

from benchmarks import kills


@pytest.mark.slow
def test_whichever_process_is_killed_the_next_job_goes_on_and_ends_as_if_nobody_had_been():
    result = kills.main(kills=3, epochs=60, seed=1)
    assert not result["wrong"], result
    assert sorted(row["processes"] for row in result["kills"]) == [1, 2, 4]
    assert any(row["checkpoint_after"] for row in result["kills"])
