"""Chunk sizes, and thresholds between two ways to compute the same result.

A CPU is fastest while intermediate arrays fit its caches: its sizes are measured constants. An accelerator is fastest
with few large kernels: its chunks are as large as a share of its memory.
"""

from typing import Any

import jax.numpy as jnp

from jaxrec.kernels import hardware

HELD_NUMBERS = 2**21  #: elements per chunk of an intermediate array that is computed in chunks, on a CPU
MEMORY_PER_NUMBER = 1024  #: bytes of an accelerator's memory for each element of such a chunk
TABLE_ROWS_PER_LOOKUP = 16  #: tables with at most this many rows per lookup are multiplied whole, without lookups
MASKED_ROWS_PER_TOUCHED = 4  #: tables with at most this many rows per touched row are updated whole, under a mask
COMPARED_PAIRS = 2**26  #: an accelerator compares at most this many pairs of numbers, instead of sorting or marking
GRADIENT_ROWS_PER_SLOT = 4  #: with more table rows per slot, summing microbatches' gradients costs more than is gained
ATTENTION_SLOTS = 8192  #: slots per microbatch for models with attention
GATED_SLOTS = 2048  #: slots per microbatch for models whose layers have several gated products (HSTU, RG-LRU)

PRODUCT_ROWS = 512  #: maximum number of rows per chunk of a wide product on a CPU
PRODUCT_NUMBERS = 10**8  #: maximum number of elements per chunk on a CPU, unless FEWEST_PRODUCT_ROWS needs more
FEWEST_PRODUCT_ROWS = 96  #: minimum number of rows per chunk on a CPU: smaller products are slower
FEWEST_KERNEL_ROWS = {"gpu": 64, "tpu": 128}  #: the same on an accelerator
KERNEL_NUMBERS = 2**25  #: elements per chunk that any accelerator has room for

RANKED_ITEMS = 4096  #: items scored at once on a CPU: with 512 queries 8 MB of scores, which stay in the cache
RANKED_QUERIES = 512  #: queries ranked at once on a CPU
FEWEST_RANKED_QUERIES = 32  #: the same on an accelerator: fewer would read the table of items too often
NUMBERS_PER_QUERY = 2**15  #: elements that a query may take anyway, for histories and candidates' vectors

ENCODED_ROWS = 32  #: rows of histories encoded at once on a CPU
ANSWERED_SLOTS = 2**14  #: slots of histories answered at once on a CPU, so that they fit the caches
NUMBERS_PER_SLOT = 1024  #: elements that a slot takes: of a layer's inner width, or its attention to the row's slots

QUERY_BLOCK = 50  #: queries per block of attention on a CPU; a causal block skips the keys after its last query
KERNEL_QUERIES = 256  #: an accelerator's blocks are multiples of it: products of fewer queries are slower

FUSED_SOFTMAX_WIDTH = 256  #: maximum features of a row that fit the tiles of the softmax's kernels
FUSED_GRU_WIDTH = 128  #: maximum width of a state whose kernel's matrices fit on one processor of a GPU


def held_numbers() -> int:
    """The number of elements per chunk of an intermediate array that is computed in chunks."""
    return HELD_NUMBERS if hardware.is_cpu() else hardware.current().memory // MEMORY_PER_NUMBER


def product_rows(columns: int) -> int:
    """The number of rows per chunk of a product with this many columns."""
    if not hardware.is_cpu():
        numbers = max(held_numbers(), KERNEL_NUMBERS)
        return max(numbers // columns, FEWEST_KERNEL_ROWS[hardware.current().platform])
    return min(max(PRODUCT_NUMBERS // columns, FEWEST_PRODUCT_ROWS), PRODUCT_ROWS)


def product_columns(columns: int, dtype: Any) -> int:
    """The number of columns to compute of a product with this many.

    A GPU multiplies bfloat16 in multiples of 8. XLA pads to those anyway, but then cuts the result in another kernel.
    """
    return columns if jnp.dtype(dtype) == jnp.float32 or not hardware.is_gpu() else -(-columns // 8) * 8


def equal_part(total: int, most: int) -> int:
    """The size of the fewest equal parts, of at most `most` elements each, that cover `total` elements.

    >>> equal_part(1000, 400)
    334
    """
    return -(-total // -(-total // most))


def ranked_items(queries: int, items: int) -> int:
    """The number of items scored at once: as many as fit with this many queries, in equal parts, on accelerators."""
    if hardware.is_cpu():
        return min(RANKED_ITEMS, items)
    return equal_part(items, max(held_numbers() // queries, RANKED_ITEMS))


def ranked_queries(numbers: int) -> int:
    """The number of queries ranked at once on a device, given the number of scores, or candidates, of each.

    On accelerators it is a multiple of 8 (single queries round differently), and few enough that all items' scores
    fit, unless these would be fewer than FEWEST_RANKED_QUERIES.
    """
    if hardware.is_cpu():
        return RANKED_QUERIES
    return max(held_numbers() // max(numbers, NUMBERS_PER_QUERY) // 8 * 8, FEWEST_RANKED_QUERIES)


def encoded_rows(rows: int, width: int, histories: int) -> int:
    """The number of rows of histories encoded at once on a device, of all its rows of this many slots."""
    if hardware.is_cpu():
        return min(ENCODED_ROWS, histories)
    return equal_part(rows, max(answered_slots() // width, 1))


def answered_slots() -> int:
    """The maximum number of slots of histories that a device answers at once."""
    return ANSWERED_SLOTS if hardware.is_cpu() else held_numbers() // NUMBERS_PER_SLOT


def query_block(queries: int, scores: int) -> int:
    """The number of queries per block of attention.

    An accelerator, where starting kernels costs more, takes all of them if it has room for their scores.

    Args:
        queries: the number of all queries of a row.
        scores: the number of scores that one query of every row has, with all keys and in all heads.
    """
    if hardware.is_cpu():
        return QUERY_BLOCK
    return min(queries, max(held_numbers() // scores // KERNEL_QUERIES, 1) * KERNEL_QUERIES)


def compares_pairs(ones: int, others: int) -> bool:
    """Whether to find equal numbers of two arrays by comparing all pairs, which is one kernel on an accelerator."""
    return not hardware.is_cpu() and ones * others <= COMPARED_PAIRS


def fused_softmax_rows(width: int) -> int:
    """The maximum number of rows of a table whose 32-bit offsets suffice for the softmax's kernels."""
    of_tile = max(2 * width, 16)  # upper bound of the tile's width, which is a power of 2 from 16 on
    return (2**31 - 1) // of_tile


def fuses_softmax(rows: int, width: int) -> bool:
    """Whether the softmax over this many rows has hand-written kernels."""
    return hardware.is_gpu() and width <= FUSED_SOFTMAX_WIDTH and rows <= fused_softmax_rows(width)


def fuses_gru(width: int) -> bool:
    """Whether a recurrence of this width has hand-written kernels."""
    return hardware.is_gpu() and width <= FUSED_GRU_WIDTH
