"""pmixer/SASRec.pytorch: its sampler, its model, and the step of its main.py. "paired": batches drawn beforehand."""

import itertools
import sys
from types import SimpleNamespace

import numpy as np
import torch
from data import histories
from turns import Turns, arguments

given = arguments()
sys.path.insert(0, given["checkout"] + "/python")
from model import SASRec  # noqa: E402
from utils import WarpSampler  # noqa: E402


def batches(sampler, paired):
    """Batches from the sampler as they come, or, if paired, some of them over and over."""
    drawn = (tuple(map(np.array, sampler.next_batch())) for _ in itertools.count())
    if not paired:
        return drawn
    kept = list(itertools.islice(drawn, 32))
    sampler.close()
    return itertools.cycle(kept)


def main():
    users, items = histories(given["data"])
    hyper = {"hidden_units": given["dim"], "num_blocks": given["layers"], "num_heads": 1, "device": given["device"]}
    args = SimpleNamespace(**hyper, dropout_rate=given["dropout"], maxlen=given["length"], norm_first=False)
    sampler = WarpSampler(users, len(users), items, batch_size=given["batch"], maxlen=args.maxlen, n_workers=3)
    model = SASRec(len(users), items, args).to(given["device"])
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.xavier_normal_(parameter.data)
    model.train()
    bce = torch.nn.BCEWithLogitsLoss()
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.98))
    drawn = batches(sampler, given["mode"] == "paired")
    turns = Turns(given["device"])
    for user, shown, following, other in drawn:
        positive, negative = model(user, shown, following, other)
        at = np.where(following != 0)
        loss = bce(positive[at], torch.ones_like(positive)[at]) + bce(negative[at], torch.zeros_like(negative)[at])
        for parameter in model.item_emb.parameters():  # as in main.py, where its weight is 0 by default
            loss += 0.0 * torch.sum(parameter**2)
        adam.zero_grad()
        loss.backward()
        adam.step()
        loss.item()
        turns.tick(len(at[0]))


if __name__ == "__main__":
    main()
