"""The users that a model has vectors of, by their external ids: kept in a workdir beside the catalogue."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

LARGE = 10**1000  # a number of more digits is nobody's id, and one of too many can't be written


class Users(NamedTuple):
    """User u's vector is row u of the model's table of users."""

    ids: list  #: external ids, all int or all str
    trained: np.ndarray  #: [U] bool: who did not train has no vector, as a new user

    def save(self, path: str | Path) -> None:
        """Write it as Parquet: the columns id and trained, a row a user."""
        pl.DataFrame({"id": self.ids, "trained": self.trained}).write_parquet(path)

    @classmethod
    def load(cls, path: str | Path) -> "Users":
        """What `save` wrote."""
        with open(path, "rb") as file:  # a path would be taken for a pattern
            frame = pl.read_parquet(file)
        return cls(frame["id"].to_list(), frame["trained"].to_numpy())

    def numbers(self) -> dict:
        """{external id: row} of those that have a vector."""
        return {id: row for row, (id, trained) in enumerate(zip(self.ids, self.trained, strict=True)) if trained}

    def own(self, id: Any) -> str | int | None:
        """An id as the training wrote it: ids are all integers or all texts, so 7 and "7" are the same user."""
        integers = bool(self.ids) and isinstance(self.ids[0], int)
        if isinstance(id, bool) or integers == (not isinstance(id, str)):
            return None if isinstance(id, bool) else id
        if not integers:
            return str(id) if abs(id) < LARGE else None
        return int(id) if id.removeprefix("-").isdecimal() and len(id) <= 20 and str(int(id)) == id else id
