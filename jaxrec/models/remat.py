"""Rematerialisation: what a gradient computes again instead of keeping it in memory (Chen et al. 2016)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from jaxrec.config.fields import among
from jaxrec.config.keys import ModelOptions
from jaxrec.kernels import hardware

MIXED = "mixed"  # what attention made of the values: small, and computed by the most operations
_mixed = jax.checkpoint_policies.save_only_these_names(MIXED)
#: {value of the key `remat`: what is kept of a block beside its input}; a dense product has no axis of rows
KEPT = {
    "products": jax.checkpoint_policies.save_from_both_policies(
        jax.checkpoint_policies.dots_with_no_batch_dims_saveable, _mixed
    ),
    "blocks": _mixed,
}


@dataclass(frozen=True)
class RematOptions(ModelOptions):
    """The options of a model of blocks."""

    #: what the gradient computes again instead of keeping it: nothing; all but the dense products and the attention's
    #: outputs; or all of a block but the latter
    remat: str = among("none", "products", "blocks")


def block(apply: Callable, remat: str, keys: jax.Array | None, module: nn.Module, *args: Any) -> Any:
    """Returns `apply(module, *args)`; in training, where there are keys, a gradient keeps of it what `remat` says."""
    if keys is None or remat == "none":
        return apply(module, *args)
    return nn.checkpoint(apply, policy=KEPT[remat])(module, *args)


def kept(mixed: jax.Array, keys: jax.Array | None) -> jax.Array:
    """Names the values that attention mixed as `MIXED` in training."""
    return mixed if keys is None else checkpoint_name(mixed, MIXED)


def joined(of_block: Callable, size: int, queries: int, *args: jax.Array) -> jax.Array:
    """Joins the results of attention's blocks of queries, `of_block(*args, begin)` [B, Q, H, d], along Q.

    On accelerators, which take several blocks where not all scores fit, a gradient keeps the scores of none.
    """
    apply = of_block if hardware.is_cpu() or size >= queries else jax.checkpoint(of_block, static_argnums=len(args))
    return jnp.concatenate([apply(*args, begin) for begin in range(0, queries, size)], axis=1)
