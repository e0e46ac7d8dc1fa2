"""The input and output of the referee's peers: histories with external ids in, scores and their own metrics out."""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np


class Given:
    """The log from the driver. The last item of each user is the test, and the one before it the validation.

    Attributes:
        users: [U] external ids. items: [V] external ids, ascending.
        histories: [U] arrays of indices into `items`, oldest first.
        options: the driver's options for this peer.
    """

    def __init__(self):
        self.options = json.loads(sys.argv[1])
        self.folder = Path(self.options["folder"])
        with np.load(self.folder / "log.npz", allow_pickle=False) as file:
            self.users, self.items = file["users"], file["items"]
            self.histories = np.split(file["places"], file["offsets"][1:-1])

    def matrix(self, begin, end):
        """Returns a sparse matrix of users by items, with ones for the part history[begin:end] of each user."""
        from scipy.sparse import csr_matrix

        parts = [history[begin:end] for history in self.histories]
        offsets = np.append(0, np.cumsum([len(part) for part in parts]))
        ones = np.ones(offsets[-1], np.float32)
        return csr_matrix((ones, np.concatenate(parts), offsets), (len(self.users), len(self.items)))

    def write_vectors(self, users, items):
        """Writes the vectors of all users and items as an .npz."""
        np.savez(
            self.folder / "scores.npz", users=users, user_ids=self.users, items=items, item_ids=self.items
        )  # fmt: skip

    def write_own(self, protocol, metrics, *packages, users=None):
        """Writes the peer's own metrics, the protocol closest to theirs, the number of users, and package versions."""
        versions = {name: version(name) for name in packages}
        told = {"protocol": protocol, "metrics": {name: float(value) for name, value in metrics.items()}}
        told["users"] = users or len(self.users)
        (self.folder / "own.json").write_text(json.dumps(told | {"versions": versions}))
