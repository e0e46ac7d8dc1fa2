"""What is held at once is bounded, whatever the size of a table."""

import pytest

from jaxrec.kernels import sizes


@pytest.mark.parametrize("columns", [1, 3_416, 54_542, 10**6, 10**7])
def test_the_numbers_held_of_a_product_are_bounded_and_so_are_its_rows(columns):
    rows = sizes.product_rows(columns)
    assert sizes.FEWEST_PRODUCT_ROWS <= rows <= sizes.PRODUCT_ROWS
    assert rows == sizes.FEWEST_PRODUCT_ROWS or rows * columns <= sizes.PRODUCT_NUMBERS
    assert rows == sizes.PRODUCT_ROWS or (rows + 1) * columns > sizes.PRODUCT_NUMBERS
