"""What every peer of the referee is given and gives: histories by external ids in, scores and its own metrics out."""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np


class Given:
    """The log of the driver, whose last item of each user is the test, and the one before the validation.

    Attributes:
        users: [U] external ids. items: [V] external ids, ascending.
        histories: [U] arrays of places among the items, oldest first.
        options: what the driver says of this peer.
    """

    def __init__(self):
        self.options = json.loads(sys.argv[1])
        self.folder = Path(self.options["folder"])
        with np.load(self.folder / "log.npz", allow_pickle=False) as file:
            self.users, self.items = file["users"], file["items"]
            self.histories = np.split(file["places"], file["offsets"][1:-1])

    def matrix(self, begin, end):
        """Users by items, of the part history[begin:end] of each, as a sparse matrix of ones."""
        from scipy.sparse import csr_matrix

        parts = [history[begin:end] for history in self.histories]
        offsets = np.append(0, np.cumsum([len(part) for part in parts]))
        ones = np.ones(offsets[-1], np.float32)
        return csr_matrix((ones, np.concatenate(parts), offsets), (len(self.users), len(self.items)))

    def write_vectors(self, users, items):
        """Write vectors of all users and items as an .npz."""
        np.savez(
            self.folder / "scores.npz", users=users, user_ids=self.users, items=items, item_ids=self.items
        )  # fmt: skip

    def write_own(self, protocol, metrics, *packages, users=None):
        """Write the peer's own metrics, the protocol they are nearest to, versions of packages, of how many users."""
        versions = {name: version(name) for name in packages}
        told = {"protocol": protocol, "metrics": {name: float(value) for name, value in metrics.items()}}
        told["users"] = users or len(self.users)
        (self.folder / "own.json").write_text(json.dumps(told | {"versions": versions}))
