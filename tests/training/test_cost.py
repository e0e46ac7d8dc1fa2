"""What a step costs, by the compiler's own count: a guard that needs no clock."""

import entries
import jax
import numpy as np
import pytest

from jaxrec.batches.stream import Stream
from jaxrec.config import recipes
from jaxrec.data import sources, splits
from jaxrec.kernels import sizes
from jaxrec.training import fit, setup as setups

pytestmark = pytest.mark.slow
MIB = 2**20

#: for a step of 8 rows of 200 slots (32 lanes of gru4rec_rsc15) and 3,000 items: (MiB of temporaries, 10^9 operations
#: with loops counted once)
KNOWN = {
    "sasrec_ml1m": (15, 0.64),
    "sasrec_softmax_ml1m": (30, 1.4),
    "bert4rec_ml1m": (46, 2.2),
    "gsasrec_ml1m": (47, 4.0),
    "gru4rec_ml1m": (17, 0.6),
    "gru4rec_rsc15": (3.2, 0.056),
    "caser_ml1m": (22, 0.42),
}


def compiled(name, **changes):
    """The compiled program of a call of a recipe, on synthetic histories."""
    values = {"dataset": "synthetic:users=2000,items=3000", "length": "200", "row": "200"} | changes
    config, _ = recipes.load(name, {key.replace("__", "."): value for key, value in values.items()})
    split = splits.last_item(sources.load(config.dataset))
    setup = setups.setup(config, split, jax.local_devices()[:1])
    (data, begins), state = fit.Feed(setup)(0, 1), setups.initial(setup)
    given = state, data, setup.sampler_tables, np.int32(begins), np.int32(1)
    return setup.run.lower(*given).compile()


def cost(program):
    """(bytes of temporaries, floating-point operations)."""
    return program.memory_analysis().temp_size_in_bytes, program.cost_analysis()["flops"]


@pytest.mark.parametrize("name", KNOWN)
def test_a_step_costs_what_it_did(name):
    temporaries, operations = cost(compiled(name))
    assert temporaries < 1.2 * KNOWN[name][0] * MIB
    assert operations < 1.1e9 * KNOWN[name][1]


def test_portions_of_rows_hold_one_portion_of_activations():
    """Four times as many rows, eight at a time, need no more memory than eight rows and a second gradient."""
    changes = {"microbatch_rows": "8"}
    eight, portions = (cost(compiled("gsasrec_ml1m", batch=batch, **changes))[0] for batch in ("128", "512"))
    assert portions < 1.3 * eight


def test_a_row_sparse_step_costs_its_rows_whatever_the_catalogue():
    changes = {"optim__sparse": "True", "length": "20", "row": "20"}
    small, large = (
        cost(compiled("sasrec_ml1m", dataset=f"synthetic:users=2000,items={items}", **changes))
        for items in (10_000, 40_000)
    )
    assert large[1] < 1.05 * small[1]
    assert large[0] < small[0] + 2 * MIB


def test_the_full_softmax_holds_the_scores_of_a_chunk_once():
    slots, items = 8 * 200, 60_000
    temporaries, _ = cost(compiled("sasrec_softmax_ml1m", dataset=f"synthetic:users=2000,items={items}"))
    chunks = -(-slots // sizes.product_rows(items))
    assert chunks > 1 and temporaries < 2 * 4 * items * slots / chunks  # what scores and their exponentials take


@pytest.mark.parametrize("name", ["sasrec", "bert4rec"])
def test_the_last_block_is_left_out_where_nobody_reads(name):
    """To read one slot per row, the first of two blocks is computed, and little but keys and values of the second."""
    model = entries.model(name, 3_000, 200, dim=64, layers=2, norm="post" if name == "bert4rec" else "pre")
    params = jax.eval_shape(model.init, jax.random.key(0))
    rows = Stream(*[jax.ShapeDtypeStruct((8, 200), np.int32)] * 5)
    whole = jax.jit(lambda params, rows: model.encode(params, rows)[0]).lower(params, rows)
    read = jax.jit(model.encode_at).lower(params, rows, jax.ShapeDtypeStruct((8, 1), np.int32))
    whole, read = (cost(program.compile())[1] for program in (whole, read))
    assert read < 0.67 * whole
