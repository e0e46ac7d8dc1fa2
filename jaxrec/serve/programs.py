"""Compiled programs, kept from one start to the next."""

import os

import jax

from jaxrec.data.sources import cache


def keep():
    """Keep them in the cache folder: compiling takes a minute of a core, reading a moment.

    Where JAX_COMPILATION_CACHE_DIR is set, there.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache() / "programs"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
