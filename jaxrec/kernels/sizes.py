"""How much is computed at once, and from where on another way is faster: what was measured on CPUs, in one place.

A CPU is fastest where an intermediate array stays in its caches. An accelerator's memory is bounded by the same sizes.
"""

import jax

HELD_NUMBERS = 2**21  #: of an intermediate array that is made in parts: so many are held at once
TABLE_ROWS_PER_LOOKUP = 16  #: a table of at most so many rows a lookup is multiplied whole rather than looked up
MASKED_ROWS_PER_TOUCHED = 4  #: a table of at most so many rows a touched one is updated whole, under a mask
GRADIENT_ROWS_PER_SLOT = 4  #: adding up the gradients of a table of more rows a slot costs more than microbatches gain
ATTENTION_SLOTS = 8192  #: activations of so many slots are trained on at once where there is attention
GATED_SLOTS = 2048  #: and of so many where a layer is made of several gated products, as in HSTU and RG-LRU

PRODUCT_ROWS = 512  #: of a product of many columns: so many are held at once, at most
PRODUCT_NUMBERS = 2**27  #: and no more of them than make so many numbers,
FEWEST_PRODUCT_ROWS = 128  #: but so many at least: products of fewer take longer

QUERY_BLOCK = 50  #: queries attended at once: of causal ones the keys after the last are never touched


def product_rows(columns):
    """How many rows of a product with so many columns are held at once."""
    return min(max(PRODUCT_NUMBERS // columns, FEWEST_PRODUCT_ROWS), PRODUCT_ROWS)


def query_block(queries):
    """How many queries are attended at once: an accelerator does all of them in less time than it starts the parts."""
    return QUERY_BLOCK if jax.default_backend() == "cpu" else queries
