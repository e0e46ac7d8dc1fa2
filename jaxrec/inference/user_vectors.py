"""Maps user ids to the rows of a model's user embeddings, for models that have them."""

import numpy as np

from jaxrec.config.keys import Config
from jaxrec.data.attributes.users import Users
from jaxrec.data.interactions import Interactions
from jaxrec.models.entry import has_users
from jaxrec.system import arguments
from jaxrec.system.errors import UserError


class UserVectors:
    """Looks up the rows of user embeddings by external id.

    Args:
        users: the users of the training; None if the model has no user embeddings, or its training didn't store them.
        config: the config of the training.
    """

    def __init__(self, users: Users | None, config: Config):
        self._users, self._config = users, config
        self._row = users.numbers() if users else {}

    def row(self, id: object, which: str = "") -> tuple[int, list]:
        """Returns (row, []) for a user with an embedding, (-1, [id]) for one without. `which` begins error messages.

        Raises:
            UserError: the value is not an id, or the model has no user embeddings.
        """
        if id is None:
            return -1, []
        if self._users is None:
            name = self._config.model.name
            kept = f"this training of {name} did not store which users its vectors belong to: run its command again"
            none = f"{name} has no user vectors: leave it out"
            raise UserError(f"{which}user: {kept if has_users(self._config) else none}")
        if not id.__hash__:
            raise UserError(f"{which}user: {arguments.some([id])} is no id: give a text or an integer")
        row = self._row.get(self._users.own(id), -1)
        return row, [id] * (row < 0)

    def rows(self, log: Interactions) -> np.ndarray | None:
        """Returns the row of each user of a log, [U] int32, -1 without an embedding; None if the model has none."""
        if self._users is None:
            return None
        return np.array([self._row.get(self._users.own(id), -1) for id in log.users.tolist()], np.int32)
