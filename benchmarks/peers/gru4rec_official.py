"""hidasib/GRU4Rec_PyTorch_Official: its own `fit`, with a turn taken at each call of its loss.

"paired": its iterator repeats the first batches, which are drawn before the turns.
"""

import itertools
import sys

import numpy as np
import pandas as pd
import torch
from data import histories
from turns import Turns, arguments

given = arguments()
sys.path.insert(0, given["checkout"])
import gru4rec_pytorch  # noqa: E402


def tensor(values, *args, made=torch.tensor, **more):
    """torch.tensor, which no longer takes the Series that `fit` gives it."""
    return made(values.to_numpy() if isinstance(values, pd.Series) else values, *args, **more)


def drawn(iterate, number=512):
    """SessionDataIterator.__call__ with batches drawn beforehand; not resetting lanes puts it at no disadvantage."""

    def again(self, enable_neg_samples, reset_hook=None):
        first = itertools.islice(iterate(self, enable_neg_samples), number)
        yield from itertools.cycle([(shown.clone(), asked.clone()) for shown, asked in first])

    return again


def main():
    sessions, _ = histories(given["data"])
    lengths = [len(own) for own in sessions.values()]
    table = pd.DataFrame(
        {
            "SessionId": np.repeat(list(sessions), lengths),
            "ItemId": np.concatenate(list(sessions.values())),
            "Time": np.arange(sum(lengths)),
        }
    )
    model = gru4rec_pytorch.GRU4Rec(**given["settings"], n_epochs=1000, device=torch.device(given["device"]))
    inner, turns = model.loss_function, None

    def loss(scores, targets, lanes):
        nonlocal turns
        if turns is None:
            turns = Turns(given["device"])
        else:
            turns.tick(lanes)  # of the step before, whose update is done by now
        return inner(scores, targets, lanes)

    model.loss_function = loss
    torch.tensor = tensor
    if given["mode"] == "paired":
        iterator = gru4rec_pytorch.SessionDataIterator
        iterator.__call__ = drawn(iterator.__call__)
    model.fit(table)


if __name__ == "__main__":
    main()
