"""A program for batches that are independent of each other, run on several devices: each batch on one of them."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import PartitionSpec as P

from jaxrec.kernels import placement as dev
from jaxrec.kernels.placement import AXIS

AHEAD = 2  # calls that are under way


class Spread:
    """A jitted program that answers as many batches in a call as there are devices.

    A device works on one batch as if it were alone, so the results are those of one device, bit for bit. Batches of
    other shapes need another program, so only batches of the same shapes are answered in one call.

    Args:
        program: (params, *batch) -> arrays; all arrays have the batch's rows along their first axis.
        devices: of this process; of a mesh with tables that are split, those that share a table work on one batch.
        specs: how params lie on them; None: each device has them whole.

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
        """Answers batches, not in their order: the devices work while the next ones are put together.

        Args:
            params: on the host, or on the devices by the specs.
            batches: (key, batch), each a tuple of arrays on the host, or None.

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
        """Lists of as many batches of equal shapes as there are devices; the last ones of some shapes are shorter."""
        waiting: dict = {}
        for key, batch in batches:
            shapes = tuple(None if x is None else x.shape for x in batch)
            group = waiting.setdefault(shapes, [])
            group.append((key, batch))
            if len(group) == self._size:
                yield waiting.pop(shapes)
        yield from waiting.values()

    def _together(self, group):
        """The batches of a group on the devices; those that have none repeat the first."""
        batches = [batch for _, batch in group]
        batches += batches[:1] * (self._size - len(batches))
        return dev.spread(jax.tree.map(lambda *parts: np.concatenate(parts), *batches), self.devices)

    def _apart(self, group, found):
        parts = [np.split(np.asarray(x), self._size) for x in found]
        for number, (key, _) in enumerate(group):
            yield key, [part[number] for part in parts]
