"""How many rows a microbatch has. That microbatches add up to the whole batch is tested in test_step."""

import pytest
from hypothesis import given, settings, strategies as st

from jaxrec.config import parsing as configs
from jaxrec.models.entry import build
from jaxrec.training.steps import microbatches

CONFIG = {
    "dataset": "histories",
    "seed": 1,
    "epochs": 1,
    "eval_every": 1,
    "save_every": 1,
    "patience": 0,
    "steps_per_call": 1,
    "batch": 16,
    "length": 8,
    "model": {"name": "sasrec", "dim": 8, "layers": 1, "dropout": 0.0},
    "loss": {"name": "bce", "negatives": 1},
    "optim": {"name": "adam", "learning_rate": 1e-3},
}
MANY = 4 * 8192 + 1  # items, for whose table a CPU takes all rows at once


@given(share=st.integers(1, 500), most=st.integers(1, 600), items=st.sampled_from([100, MANY]))
@settings(deadline=None)
def test_rows_are_as_many_as_are_asked_for(share, most, items):
    config = configs.from_dict(CONFIG | {"microbatch_rows": most})
    for kind in ("cpu", "gpu"):
        size = microbatches.rows_for(config, build(config, 10, 0), items, share, kind)
        assert share % size == 0 and size <= most
        assert not any(share % more == 0 for more in range(size + 1, min(most, share) + 1))


@pytest.mark.parametrize("name", ["sasrec", "bert4rec", "gru4rec", "caser", "two-tower"])
@given(share=st.integers(1, 500), row=st.sampled_from([8, 200, 20_000]))
@settings(deadline=None)
def test_of_itself_a_cpu_takes_about_8192_slots_at_once_where_there_is_attention(name, share, row):
    objective = {"objective": "cloze"} if name == "bert4rec" else {}
    norm = {"norm": "post"} if name == "bert4rec" else {}
    config = configs.from_dict(CONFIG | objective | {"row": row, "model": CONFIG["model"] | {"name": name} | norm})
    model = build(config, 10, 0)
    assert microbatches.rows_for(config, model, 100, share, "gpu") == share
    assert microbatches.rows_for(config, model, MANY, share, "cpu") == share
    size = microbatches.rows_for(config, model, MANY - 1, share, "cpu")
    assert share % size == 0
    if name not in ("sasrec", "bert4rec"):
        assert size == share
    elif size < share:
        assert 4096 <= size * row <= 16384
    else:
        assert share * row <= 16384 or not any(
            share % other == 0 and 4096 <= other * row <= 16384 for other in range(1, share)
        )


@pytest.mark.parametrize(("stream", "rows"), [("packed", 8), ("session-parallel", 512)])
def test_a_row_of_session_parallel_training_is_one_slot(stream, rows):
    """Of 512 rows, a model for 2,048 slots takes 8 if they have 256 slots each, and all if they have one each."""
    config = configs.from_dict(CONFIG | {"row": 256, "stream": stream, "model": CONFIG["model"] | {"name": "rg-lru"}})
    assert microbatches.rows_for(config, build(config, 10, 0), 100, 512, "cpu") == rows
