"""Laws of benchmarks/limit.py: what a target of each recipe costs."""

import pytest

from benchmarks import limit
from jaxrec.config import recipes

SIZES = {"dataset": "synthetic:users=60,items=100", "length": "8", "row": "8"}
RECIPES = ["sasrec_ml1m", "sasrec_softmax_ml1m", "bert4rec_ml1m", "gsasrec_ml1m", "gru4rec_ml1m", "caser_ml1m"]


def flops(name, **changes):
    config, _ = recipes.load(name, SIZES | {key.replace("__", "."): str(value) for key, value in changes.items()})
    return limit.flops_per_target(config)[0]


@pytest.mark.parametrize("name", RECIPES)
def test_a_target_costs_more_the_wider_and_the_deeper_a_model_is(name):
    few = flops(name, model__dim=32)
    assert 0 < few < flops(name, model__dim=64) <= 4 * few
    if name != "caser_ml1m":
        assert few < flops(name, model__dim=32, model__layers=4)


def test_the_products_of_a_block_are_those_of_its_matrices():
    """Of one block: four matrices of attention, and those of the feed-forward, each with 6 dim^2 operations a slot."""
    one = lambda **more: flops("sasrec_ml1m", model__dim=32, **more)
    block = one(model__layers=2) - one(model__layers=1)
    wider = one(model__layers=1, model__ffn_multiplier=2) - one(model__layers=1)
    gated = one(model__layers=1, model__ffn="swiglu") - one(model__layers=1)
    assert wider == pytest.approx(2 * gated) and 2 * wider < block < 4 * wider
