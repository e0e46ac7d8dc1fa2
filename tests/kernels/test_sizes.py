"""The memory used at once is bounded, whatever the size of a table."""

import pytest

from jaxrec.kernels import sizes
from jaxrec.kernels.handwritten import tile_width
from jaxrec.kernels.hardware import Hardware, assumed


@pytest.mark.parametrize("columns", [1, 3_416, 54_542, 10**6, 10**7])
def test_the_numbers_held_of_a_product_are_bounded_and_so_are_its_rows(columns):
    rows = sizes.product_rows(columns)
    assert sizes.FEWEST_PRODUCT_ROWS <= rows <= sizes.PRODUCT_ROWS
    assert rows == sizes.FEWEST_PRODUCT_ROWS or rows * columns <= sizes.PRODUCT_NUMBERS
    assert rows == sizes.PRODUCT_ROWS or (rows + 1) * columns > sizes.PRODUCT_NUMBERS


@pytest.mark.parametrize("hardware", [Hardware("gpu", 60 << 30), Hardware("gpu", 12 << 30), Hardware("tpu", 16 << 30)])
@pytest.mark.parametrize("columns", [3_416, 54_542, 10**6, 10**7])
def test_an_accelerator_holds_a_share_of_its_memory_or_the_fewest_rows(hardware, columns):
    with assumed(hardware):
        rows = sizes.product_rows(columns)
    few = sizes.FEWEST_KERNEL_ROWS[hardware.platform]
    assert rows == few or few < rows <= max(hardware.memory / 1024, sizes.KERNEL_NUMBERS) / columns


def test_the_softmax_kernels_are_for_tables_whose_tiles_have_offsets_of_32_bits():
    with assumed(Hardware("gpu", 139 << 30)):
        for width in (1, 4, 8, 16, 65, 256):
            rows = 2**31 // tile_width(width)
            assert not sizes.fuses_softmax(rows, width) and sizes.fuses_softmax(rows // 4, width)
