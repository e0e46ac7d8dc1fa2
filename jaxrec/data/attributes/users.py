"""The users of a model with user vectors, stored in the workdir beside the catalogue."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from jaxrec.system import arguments


class Users(NamedTuple):
    """The users: user u's vector is row u of the model's user table."""

    ids: list  #: external ids, all int or all str
    trained: np.ndarray  #: [U] bool; users without training are treated as new

    def save(self, path: str | Path) -> None:
        """Writes the users as Parquet: the columns "id" and "trained"."""
        pl.DataFrame({"id": self.ids, "trained": self.trained}).write_parquet(path)

    @classmethod
    def load(cls, path: str | Path) -> "Users":
        """Reads users written by `save`."""
        with open(path, "rb") as file:  # polars would read a path as a glob pattern
            frame = pl.read_parquet(file)
        return cls(frame["id"].to_list(), frame["trained"].to_numpy())

    def numbers(self) -> dict:
        """Returns {external id: row} of the trained users."""
        return {id: row for row, (id, trained) in enumerate(zip(self.ids, self.trained, strict=True)) if trained}

    def own(self, id: Any) -> str | int | None:
        """Returns an id in the training's type, so that 7 and "7" are the same user; None if it can't be an id."""
        return arguments.as_id(id, int if self.ids and isinstance(self.ids[0], int) else str)
