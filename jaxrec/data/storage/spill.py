"""Where the rows of a log are kept while it is prepared: in memory, or in the files of a temporary folder.

With a limit on memory, rows are written to files as they are read, then distributed to blocks of consecutive users,
which are sorted in memory one at a time. Ids, and arrays with one value per user, item or session, stay in memory.
"""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.storage import maps
from jaxrec.data.storage.ragged import spans
from jaxrec.system.amounts import in_words
from jaxrec.system.errors import UserError

LEAST = 1 << 28  # minimum bytes of memory
SORTING = 128  # bytes of memory to sort one row
HEADER = 128  # bytes of the header of a one-dimensional .npy of any length


class Parts:
    """A column in memory, as consecutive arrays."""

    def __init__(self):
        self._arrays = []

    def add(self, array: np.ndarray) -> None:
        """Appends an array."""
        self._arrays.append(array)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self._arrays)

    def whole(self) -> np.ndarray:
        """Returns the column as one array; the column is empty afterwards."""
        arrays, self._arrays = self._arrays, []
        if len(arrays) == 1 and arrays[0].flags.owndata:
            return arrays[0]
        return np.concatenate(arrays) if arrays else np.zeros(0, np.int64)


class Store:
    """Keeps columns in memory."""

    memory: int | None = None  #: maximum bytes; None for no limit

    def parts(self, name: str) -> Parts:
        """Returns a new column. `name`: begins the name of its file, if it has one."""
        return Parts()

    def check(self, name: str, size: int, what: str) -> None:
        """Checks that tables of this many bytes fit in memory. `name`, `what`: the log and the tables, for messages."""

    def deal(
        self, parts: dict[str, Parts], owner: str, users: int, made: dict[str, Callable], name: str
    ) -> Iterator[tuple[int, int, dict[str, np.ndarray]]]:
        """Yields the rows of consecutive users: (first user, last + 1, {role: values in the order they were added}).

        Args:
            parts: {role: column}; the columns are dropped.
            owner: the role whose values are the users' numbers, from 0.
            users: number of users.
            made: {role: function to apply to its values}.
            name: name of the log, for messages.
        """
        yield 0, users, {role: made[role](parts[role].whole()) for role in [*parts]}

    def forget(self, *arrays: np.ndarray) -> None:
        """Removes the files of arrays that are no longer needed."""

    def give(self, array: np.ndarray, path: Path) -> bool:
        """Moves the file of an array to a path; returns False if the array has no file of its own."""
        return False


MEMORY = Store()


class FileParts(Parts):
    """A column in a file, which is a valid .npy after `whole`."""

    def __init__(self, path: Path):
        self._path, self._kinds, self._file = path, [], None

    def add(self, array: np.ndarray) -> None:
        if not len(array):
            return
        if self._file is None:
            self._file = self._path.open("wb", buffering=0)
            write_at(self._file.fileno(), bytes(HEADER), 0, self._path)
            self._end = HEADER
        write_at(self._file.fileno(), np.ascontiguousarray(array).data, self._end, self._path)
        self._end += array.nbytes
        self._kinds.append((array.dtype, len(array)))

    def __iter__(self) -> Iterator[np.ndarray]:
        if self._kinds:
            with self._path.open("rb") as file:
                file.seek(HEADER)
                for dtype, length in self._kinds:
                    yield np.fromfile(file, dtype, length)

    def whole(self) -> np.ndarray:
        if self._file is None:
            return np.zeros(0, np.int64)
        (dtype,) = {dtype for dtype, _ in self._kinds}
        length = sum(length for _, length in self._kinds)
        self._file.seek(0)
        header = np.lib.format.header_data_from_array_1_0(np.zeros(0, dtype)) | {"shape": (length,)}
        np.lib.format.write_array_header_1_0(self._file, header)
        assert self._file.tell() == HEADER
        self.close()
        return np.load(self._path, mmap_mode="r", allow_pickle=False)

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def drop(self) -> None:
        """Removes the file."""
        self.close()
        self._kinds = []
        self._path.unlink(missing_ok=True)


class Disk(Store):
    """Keeps columns in files of a folder.

    Args:
        folder: an existing folder for the files.
        memory: maximum bytes of memory.
        stage: receives the name of the current stage.
    """

    def __init__(self, folder: Path, memory: int, stage: Callable[[str], None] = lambda name: None):
        self.folder, self.memory, self._memory, self.stage = folder, memory, memory, stage
        self.rows = max(min(memory // 2 // SORTING, maps.ROWS), 1)
        self._numbers = itertools.count()

    def parts(self, name: str) -> FileParts:
        return FileParts(self.folder / f"{name}-{next(self._numbers)}.npy")

    def check(self, name: str, size: int, what: str) -> None:
        """Raises UserError if tables of this many bytes take more than half of the memory."""
        if size > self._memory // 2:
            raise UserError(f"{name}: {what} take about {in_words(size)}, {self._too_much(size)}")

    def _too_much(self, size: int) -> str:
        more = -(-2 * size // (1 << 30)) + 1
        return f"and half of --memory {in_words(self._memory)} is for them: say --memory {more}GiB, or leave it out"

    def deal(
        self, parts: dict[str, Any], owner: str, users: int, made: dict[str, Callable], name: str
    ) -> Iterator[tuple[int, int, dict[str, np.ndarray]]]:
        counts = np.zeros(users, np.int64)
        for numbers in parts[owner]:
            np.add.at(counts, made[owner](numbers), 1)
        offsets = np.append(0, np.cumsum(counts))
        if (most := int(counts.max(initial=0)) * SORTING) > self._memory // 2:
            told = f"one user alone has {counts.max():,} rows, which take {in_words(most)} to sort"
            raise UserError(f"{name}: {told}, {self._too_much(most)}")
        parted = spans(offsets, self.rows)
        firsts = np.array([first for first, _ in parted])
        place = offsets[firsts]
        with contextlib.ExitStack() as stack:
            files, kinds = {}, {}
            for role in parts:
                path = self.folder / f"dealt-{role}-{next(self._numbers)}"
                files[role] = path, stack.enter_context(path.open("w+b", buffering=0))
                stack.callback(path.unlink, missing_ok=True)
            done = 0
            for batch in zip(*parts.values(), strict=True):
                values = {role: made[role](array) for role, array in zip(parts, batch, strict=True)}
                block = (np.searchsorted(firsts, values[owner], side="right") - 1).astype(np.int32)
                order = np.argsort(block.astype(np.uint16) if len(parted) < 1 << 16 else block, kind="stable")
                number = np.bincount(block, minlength=len(parted))
                ends = np.cumsum(number)
                for role, (path, file) in files.items():
                    dealt, kinds[role] = values[role][order], values[role].dtype
                    for at in np.flatnonzero(number).tolist():
                        part = dealt[ends[at] - number[at] : ends[at]]
                        write_at(file.fileno(), part.data, int(place[at]) * part.itemsize, path)
                place += number
                done += len(block)
                self.stage(f"dealing to {len(parted):,} blocks of users: {done:,} of {offsets[-1]:,} rows")
            for each in parts.values():
                each.drop()
            for first, last in parted:
                begin, length = int(offsets[first]), int(offsets[last] - offsets[first])
                self.stage(f"sorting: {begin:,} of {offsets[-1]:,} rows")
                values = {}
                for role, (path, _) in files.items():
                    values[role] = np.fromfile(path, kinds[role], length, offset=begin * kinds[role].itemsize)
                yield first, last, values

    def forget(self, *arrays: np.ndarray) -> None:
        for array in arrays:
            if (path := self._path(array)) is not None:
                path.unlink(missing_ok=True)

    def give(self, array: np.ndarray, path: Path) -> bool:
        own = self._path(array)
        if own is None or not own.exists():
            return False
        own.rename(path)
        return True

    def _path(self, array) -> Path | None:
        """Returns the file in the folder that an array maps as a whole; None if there is none."""
        name = getattr(array, "filename", None)
        if not isinstance(array, np.memmap) or name is None or Path(name).parent != self.folder:
            return None
        return Path(name) if Path(name).stat().st_size == HEADER + array.nbytes else None


def write_at(handle: int, data: Any, at: int, path: Path) -> None:
    """Writes all bytes at an offset of a file. `path`: the file, for messages.

    Raises:
        UserError: if the disk is full, or writing fails.
    """
    left = memoryview(data).cast("B")
    try:
        while len(left):
            written = os.pwrite(handle, left, at)
            left, at = left[written:], at + written
    except OSError as error:
        raise UserError(
            f"{path.parent}: cannot be written ({error.strerror}): free the disk, where --memory keeps rows "
            "while it prepares, or name an --output on another disk"
        ) from None
