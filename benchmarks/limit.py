"""The most that this machine could do, bounded by the multiplications that a target needs, or by its memory."""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.batches import objectives
from jaxrec.kernels import hardware
from jaxrec.training import assembly

FORWARD_AND_BACKWARD = 6  # operations per weight: a multiplication and an addition, and twice that backward


@functools.cache
def peak(precision="float32"):
    """Measures {"flops": per second, of a matrix product; "bytes": read and written per second, by a copy}.

    precision: of the product on an accelerator, in float32 as by JAX's default there; on a CPU it is float32.
    """
    if hardware.is_cpu():
        size = 2048
        a, b = (np.random.default_rng(i).random((size, size), np.float32) for i in range(2))
        large = np.zeros(2**26, np.float32)
        product, copy = (lambda: a @ b), large.copy
    else:
        size = 8192
        a, b = jax.random.normal(jax.random.key(0), (2, size, size), precision)
        large = jnp.zeros(2**28, jnp.float32)
        product, copy = _on_device(jnp.matmul, a, b), _on_device(lambda x: x + 1, large)
    return {
        "flops": 2 * size**3 / _best(product, 8),
        "bytes": 2 * large.nbytes / _best(copy, 5),
    }


def _on_device(function, *args):
    compiled = jax.jit(function)
    jax.block_until_ready(compiled(*args))
    return lambda: jax.block_until_ready(compiled(*args))


def _best(run, times):
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def targets_per_second(config, per_step):
    """The most real targets per second, `per_step` of them in a step, if all slots are real and all else takes no time.

    The lower of two bounds: that of the matrix products, at the measured peak; and that of memory, since an update of
    whole tables reads and writes them and the optimiser's state of them.
    """
    per_target, items = flops_per_target(config)
    products = float(peak(config.precision)["flops"] / per_target)
    if config.optim.sparse:
        return products
    held = 2 + bool(config.optim.momentum) if config.optim.name == "adagrad" else 3
    return min(products, per_step * peak(config.precision)["bytes"] / (2 * 4 * held * items * config.model.dim))


def flops_per_target(config):
    """Returns the flops of a real target, as `flops` counts them, and the number of items."""
    split = assembly.split_of(config)
    objective = objectives.build(config)
    length = objective.subsequences(split.start, split.stop, config.length, config.history).length.astype(float)
    targets, items = objective.count(length.astype(int)).sum(), len(split.interactions.catalogue.ids)
    return flops(config, length, targets, items) / targets, items


def flops(config, length_P, targets, items):
    """The flops of an epoch of subsequences of these lengths, without norms, softmax, dropout and updates."""
    model, dim = config.model, config.model.dim
    slots = length_P.sum()
    seen = (length_P**2).sum() if model.name == "bert4rec" else (length_P * (length_P + 1) / 2).sum()
    if model.name in ("sasrec", "bert4rec"):
        matrices = 4 + (3 if model.ffn == "swiglu" else 2) * model.ffn_multiplier
        weights = slots * matrices * dim**2 + seen * 2 * dim
    elif model.name == "gru4rec":
        weights = slots * 6 * dim**2
    elif model.name == "caser":
        filters = model.vertical * dim + model.horizontal * model.window
        rows = sum(height * dim * model.horizontal for height in range(1, model.window + 1))
        weights = slots * (model.window * model.vertical * dim + rows + filters * dim + 2 * dim**2 * model.users)
    else:
        weights = slots * dim**2
    scored = items if config.loss.name == "softmax" else 1 + config.loss.negatives
    return FORWARD_AND_BACKWARD * (model.layers * weights + targets * scored * dim)
