"""The memory used at once is bounded, whatever the size of a table."""

import jax.numpy as jnp
import pytest

from jaxrec.kernels import sizes
from jaxrec.kernels.handwritten import tile_width
from jaxrec.kernels.hardware import Hardware, assumed

ACCELERATORS = [Hardware("gpu", 60 << 30), Hardware("gpu", 12 << 30), Hardware("tpu", 16 << 30)]


@pytest.mark.parametrize("columns", [1, 3_416, 54_542, 10**6, 10**7])
def test_the_numbers_held_of_a_product_are_bounded_and_so_are_its_rows(columns):
    rows = sizes.product_rows(columns)
    assert sizes.FEWEST_PRODUCT_ROWS <= rows <= sizes.PRODUCT_ROWS
    assert rows == sizes.FEWEST_PRODUCT_ROWS or rows * columns <= sizes.PRODUCT_NUMBERS
    assert rows == sizes.PRODUCT_ROWS or (rows + 1) * columns > sizes.PRODUCT_NUMBERS


@pytest.mark.parametrize("hardware", ACCELERATORS)
@pytest.mark.parametrize("columns", [3_416, 54_542, 10**6, 10**7])
def test_an_accelerator_holds_a_share_of_its_memory_or_the_fewest_rows(hardware, columns):
    with assumed(hardware):
        rows = sizes.product_rows(columns)
    few = sizes.FEWEST_KERNEL_ROWS[hardware.platform]
    assert rows == few or few < rows <= max(hardware.memory / 1024, sizes.KERNEL_NUMBERS) / columns


@pytest.mark.parametrize("hardware", ACCELERATORS)
@pytest.mark.parametrize("items", [1, 100, 3_416, 54_542, 300_001, 10**6, 10**7])
def test_the_scores_that_an_accelerator_holds_are_bounded(hardware, items):
    """All items are scored at once where they fit, and no query is alone, since a lone one rounds differently."""
    with assumed(hardware):
        queries, held = sizes.ranked_queries(items), sizes.held_numbers()
        at_once = sizes.ranked_items(queries, items)
    assert 1 <= at_once <= items and queries * at_once <= held and queries % 8 == 0
    assert at_once == items or queries == sizes.FEWEST_RANKED_QUERIES
    assert 2 * (queries + 8) * max(items, sizes.NUMBERS_PER_QUERY) > held, "half of the bound is used"


@pytest.mark.parametrize("hardware", ACCELERATORS)
@pytest.mark.parametrize("width", [1, 50, 200, 4096, 10**6])
@pytest.mark.parametrize("rows", [1, 31, 5_000])
def test_an_accelerator_encodes_the_fewest_batches_whose_slots_are_bounded(hardware, width, rows):
    with assumed(hardware):
        at_once, slots = sizes.encoded_rows(rows, width, rows), sizes.answered_slots()
    assert 1 <= at_once <= rows and (at_once == 1 or at_once * width <= slots)
    assert -(-rows // at_once) == -(-rows // max(slots // width, 1))


@pytest.mark.parametrize("memory", [4 << 30, 16 << 30, 60 << 30])
@pytest.mark.parametrize(("queries", "scores"), [(200, 25_600), (4096, 65_536), (4096, 2_097_152), (300, 10**9)])
def test_an_accelerator_takes_all_queries_whose_scores_fit_a_share_of_its_memory(memory, queries, scores):
    with assumed(Hardware("gpu", memory)):
        size, held = sizes.query_block(queries, scores), sizes.held_numbers()
    assert size == queries or size % sizes.KERNEL_QUERIES == 0
    assert size * scores <= held or size == min(queries, sizes.KERNEL_QUERIES)
    assert size == queries or (size + sizes.KERNEL_QUERIES) * scores > held
    assert sizes.query_block(queries, scores) == sizes.QUERY_BLOCK


def test_the_softmax_kernels_are_for_tables_whose_tiles_have_offsets_of_32_bits():
    with assumed(Hardware("gpu", 139 << 30)):
        for width in (1, 4, 8, 16, 65, 256):
            rows = 2**31 // tile_width(width)
            assert not sizes.fuses_softmax(rows, width) and sizes.fuses_softmax(rows // 4, width)


@pytest.mark.parametrize("columns", [1, 8, 50, 300])
def test_a_gpu_computes_whole_eights_of_columns_of_a_bfloat16_product(columns):
    for platform, dtype, multiple in (("gpu", jnp.bfloat16, 8), ("gpu", jnp.float32, 1), ("tpu", jnp.bfloat16, 1)):
        with assumed(Hardware(platform, 16 << 30)):
            found = sizes.product_columns(columns, dtype)
        assert columns <= found < columns + multiple and not found % multiple
    assert sizes.product_columns(columns, jnp.bfloat16) == columns  # on a CPU
