"""Runs a program on independent batches over several devices, each batch on one of them."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import PartitionSpec as P

from jaxrec.kernels import placement as dev
from jaxrec.kernels.placement import AXIS

AHEAD = 2  # maximum number of calls in flight


class Spread:
    """A jitted program that processes as many batches per call as there are devices.

    A device works on one batch as if it were alone, so the results are those of one device, bit for bit. Other
    shapes need another program, so only batches of the same shapes are processed in one call.

    Args:
        program: (params, *batch) -> arrays; all arrays have the batch's rows along their first axis.
        devices: devices of this process; on a mesh with split tables, those that share a table work on the same batch.
        specs: the PartitionSpecs of params; None: each device has them whole.

    >>> double = Spread(lambda params, x: (params * x,), dev.local())
    >>> batches = [("a", (np.ones(3),)), ("b", (np.zeros(4),))]
    >>> {key: found.tolist() for key, (found,) in double(2.0, batches)}
    {'a': [2.0, 2.0, 2.0], 'b': [0.0, 0.0, 0.0, 0.0]}
    """

    def __init__(self, program: Callable, devices: dev.Devices, specs: Any = None):
        self.devices = mesh = dev.mesh_of(devices)
        alone = lambda params, batch: program(params, *batch)
        mapped = jax.shard_map(alone, mesh=mesh, in_specs=(specs or P(), P(AXIS)), out_specs=P(AXIS), check_vma=False)
        self._program, self._size = jax.jit(mapped), dev.data_size(mesh)

    def __call__(self, params: Any, batches: Iterable[tuple[Any, tuple]]) -> Iterator[tuple[Any, list[np.ndarray]]]:
        """Processes batches, not in order: the devices work while the host prepares the next ones.

        Args:
            params: on the host, or on the devices as `specs` says.
            batches: (key, batch) pairs; a batch is a tuple of arrays on the host, some of which may be None.

        Yields:
            (key, the program's arrays on the host).
        """
        under_way: deque = deque()
        for group in self._groups(batches):
            under_way.append((group, self._program(params, self._together(group))))
            if len(under_way) > AHEAD:
                yield from self._apart(*under_way.popleft())
        while under_way:
            yield from self._apart(*under_way.popleft())

    def _groups(self, batches):
        """Yields lists of as many batches of equal shapes as there are devices; the last of a shape may be shorter."""
        waiting: dict = {}
        for key, batch in batches:
            shapes = tuple(None if x is None else x.shape for x in batch)
            group = waiting.setdefault(shapes, [])
            group.append((key, batch))
            if len(group) == self._size:
                yield waiting.pop(shapes)
        yield from waiting.values()

    def _together(self, group):
        """Returns the batches of a group on the devices; devices without a batch repeat the first."""
        batches = [batch for _, batch in group]
        batches += batches[:1] * (self._size - len(batches))
        return dev.spread(jax.tree.map(lambda *parts: np.concatenate(parts), *batches), self.devices)

    def _apart(self, group, found):
        parts = [np.split(np.asarray(x), self._size) for x in found]
        for number, (key, _) in enumerate(group):
            yield key, [part[number] for part in parts]
