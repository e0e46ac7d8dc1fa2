"""What is printed about a training before it begins."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings, strategies as st

from jaxrec.config import recipes
from jaxrec.data import interactions
from jaxrec.kernels import sizes
from jaxrec.kernels.hardware import Hardware, assumed
from jaxrec.training import wording


@given(st.integers(2, 12), st.integers(1, 60))
@settings(max_examples=50, deadline=None)
def test_a_length_far_beyond_the_longest_history_is_named_with_one_that_shows_as_much(longest, length):
    data = interactions.from_sequences([range(1, longest + 1), [1, 2]])
    said = wording.of_length(SimpleNamespace(length=length, row=length), data)
    assert bool(said) == (length > wording.FAR * longest)
    assert not said or f"config.length={longest} and config.row={longest} shows" in said


@pytest.mark.parametrize(
    "recipe, key, limit",
    [
        ("gru4rec_ml1m", "model.fused", sizes.FUSED_GRU_WIDTH),
        ("sasrec_softmax_ml1m", "loss.fused", sizes.FUSED_SOFTMAX_WIDTH),
    ],
)
def test_kernels_that_cannot_run_are_named_with_their_limit(recipe, key, limit):
    for asked in (True, False):
        for dim in (limit, limit + 2):
            config, _ = recipes.load(recipe, {"model.dim": str(dim), key: str(asked)})
            for platform in ("cpu", "gpu", "tpu"):
                with assumed(Hardware(platform, 16 << 30)):
                    said = wording.of_kernels(config, 3416)
                assert bool(said) == (asked and (platform != "gpu" or dim > limit))
                assert not said or (f"config.{key} " in said and f"up to {limit} " in said and f"a {platform})" in said)


def test_a_recurrence_over_one_slot_has_no_kernel_and_a_huge_table_none_either():
    with assumed(Hardware("gpu", 16 << 30)):
        config, _ = recipes.load("gru4rec_rsc15", {"model.fused": "True"})
        assert "config.model.fused" in wording.of_kernels(config, 3416)
        config, _ = recipes.load("sasrec_softmax_ml1m", {"loss.fused": "True"})
        assert "config.loss.fused" in wording.of_kernels(config, 2**31 // config.model.dim)
        assert not wording.of_kernels(config, 2**31 // config.model.dim // 4)
