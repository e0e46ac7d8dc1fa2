"""The kind of device that programs are traced for. All other code asks here."""

from typing import NamedTuple

import jax

UNKNOWN_MEMORY = 16 << 30  #: bytes of an accelerator that doesn't say how much memory it has: the least in use


class Hardware(NamedTuple):
    """A kind of device."""

    platform: str  #: "cpu", "gpu" or "tpu"
    memory: int = 0  #: bytes that programs can use on one device; 0 for a CPU, whose caches matter instead
    interpreted: bool = False  #: whether hand-written kernels are interpreted, on any device, instead of compiled


#: `with assumed(Hardware("gpu", 60 << 30)):` traces programs as for that device, whatever runs them
assumed = jax.make_user_context(None)


def current() -> Hardware:
    """The hardware that programs are traced for: the `assumed` one, or else that of JAX's default backend."""
    if assumed.value is not None:
        return assumed.value
    platform = jax.default_backend()
    if platform == "cpu":
        return Hardware(platform)
    stats = jax.local_devices()[0].memory_stats() or {}
    return Hardware(platform, stats.get("bytes_limit", UNKNOWN_MEMORY))


def is_cpu() -> bool:
    """Whether programs are traced for a CPU."""
    return current().platform == "cpu"


def is_gpu() -> bool:
    """Whether programs are traced for a GPU."""
    return current().platform == "gpu"
