"""Contrast between sequences with the same next item: their hidden vectors are drawn together, apart from the others.

Supervised contrast (Khosla et al. 2020, eq. 2) of the slots of a step, an item that is asked for being the class.
"""

import jax
import jax.numpy as jnp

from jaxrec.kernels.collectives import all_gather
from jaxrec.kernels.placement import AXIS
from jaxrec.kernels.random import random_bits, site_keys

SITE = 2**31 - 5  # beyond the sites of any model's dropouts
TEMPERATURE = 0.1
MOST_SLOTS = 2048  #: of a step, which are compared with each other


def contrast(hidden_ND, target_N, other_MD, other_M, number):
    """The sum of the contrast of N slots, of cosines over a temperature, with M slots that they are the n-th of.

    -mean over p of log (exp s_p / sum over a of exp s_a): a are all other slots with a target, p those of the same.

    Args:
        hidden_ND: of any length.
        target_N: 0: no target, which counts for nothing.
        other_MD: as hidden_ND.
        other_M: their targets.
        number: [N] which of the M slots each of the N is.

    Returns:
        (sum over the slots with one of the same target at least, [N] which these are)
    """
    unit = lambda x: x / jnp.sqrt(jnp.maximum((x * x).sum(-1, keepdims=True), 1e-12))
    scores_NM = unit(hidden_ND.astype(jnp.float32)) @ unit(other_MD.astype(jnp.float32)).T / TEMPERATURE
    other_NM = (other_M > 0) & (jnp.arange(len(other_M)) != number[:, None])
    same_NM = other_NM & (target_N[:, None] == other_M)
    norm_N = jax.nn.logsumexp(jnp.where(other_NM, scores_NM, -1e9), axis=1)
    count_N = same_NM.sum(1)
    each_N = norm_N - jnp.where(same_NM, scores_NM, 0).sum(1) / jnp.maximum(count_N, 1)
    return jnp.where(count_N > 0, each_N, 0).sum(), count_N > 0


def mean_contrast(hidden_ND, target_N, keys, rows):
    """This device's share of the mean contrast of a step's slots.

    Args:
        hidden_ND: of R rows, one after the other.
        target_N: likewise.
        keys: of the rows; they draw which slots of a row are compared where a step has more than `MOST_SLOTS`.
        rows: of a step, over all devices.
    """
    target_RT = target_N.reshape(len(keys), -1)
    most = min(max(MOST_SLOTS // rows, 1), target_RT.shape[1])
    bits = jax.vmap(lambda key: random_bits(key, target_RT.shape[1:]))(site_keys(keys, SITE))
    chosen_RM = jnp.argsort(jnp.where(target_RT > 0, bits >> 1, jnp.uint32(2**32 - 1)), axis=1)[:, :most]
    own = jnp.take_along_axis(target_RT, chosen_RM, axis=1).reshape(-1)
    hidden = hidden_ND.reshape(*target_RT.shape, -1)
    hidden = jnp.take_along_axis(hidden, chosen_RM[..., None], axis=1).reshape(len(own), -1)
    others, other_targets = all_gather(hidden, AXIS), all_gather(own, AXIS)
    number = jax.lax.axis_index(AXIS) * len(own) + jnp.arange(len(own))
    total, _ = contrast(hidden, own, others, other_targets, number)
    times = (other_targets[:, None] == other_targets).sum(1)
    return total / jnp.maximum(((other_targets > 0) & (times > 1)).sum(), 1)
