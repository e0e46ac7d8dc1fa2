"""The users that all contenders train on, as the driver wrote them, and batches on a device."""

import numpy as np


def histories(path):
    """Returns ({user: [items]}, number of items): training histories of two items or more, with numbers from 1."""
    with np.load(path, allow_pickle=False) as file:
        parts = np.split(file["items"], file["offsets"][1:-1])
        kept = [part.tolist() for part in parts if len(part) > 1]
        return dict(enumerate(kept, 1)), int(file["catalogue"])


def on(device, batch):
    """A batch with its tensors on a device; batch: a dictionary, or a sequence of tensors."""
    if isinstance(batch, dict):
        return {key: value.to(device, non_blocking=True) for key, value in batch.items()}
    return [each.to(device, non_blocking=True) for each in batch]


def frame(path, first=1):
    """Returns the same as (a table of user_id, item_id (from `first`) and time_idx, number of items)."""
    import pandas as pd

    users, items = histories(path)
    rows = [(user, item + first - 1, at) for user, own in users.items() for at, item in enumerate(own)]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "time_idx"]), items
