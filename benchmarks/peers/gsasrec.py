"""asash/gSASRec-pytorch: its data loader and model, and the step of its train_gsasrec.py."""

import itertools
import json
import os
import sys
import tempfile
from pathlib import Path

import torch
from data import histories, on
from turns import Turns, arguments

given = arguments()
sys.path.insert(0, given["checkout"])
from dataset_utils import get_train_dataloader  # noqa: E402
from gsasrec import GSASRec  # noqa: E402


def loss_of(model, positives, negatives, padding, negatives_number, t):
    """gBCE as train_gsasrec.py computes it, in float64."""
    shown, labels = positives[:, :-1], positives[:, 1:]
    hidden, _ = model(shown)
    every = model.get_output_embeddings()(torch.cat([labels.unsqueeze(-1), negatives[:, 1:, :]], dim=-1))
    logits = torch.einsum("bse, bsne -> bsn", hidden, every)
    wanted = torch.zeros_like(logits)
    wanted[:, :, 0] = 1
    alpha, most = negatives_number / (padding - 2), torch.finfo(torch.float64).max
    beta = alpha * ((1 - 1 / alpha) * t + 1 / alpha)
    positive, rest = logits[:, :, :1].to(torch.float64), logits[:, :, 1:].to(torch.float64)
    probability = torch.clamp(torch.sigmoid(positive), 1e-10, 1 - 1e-10)
    raised = torch.clamp(probability.pow(-beta), 1 + 1e-10, most)
    moved = torch.clamp(torch.div(1.0, raised - 1), 1e-10, most).log()
    each = torch.nn.functional.binary_cross_entropy_with_logits(torch.cat([moved, rest], -1), wanted, reduction="none")
    mask = (shown != padding).float()
    return (each.mean(-1) * mask).sum() / mask.sum()


def main():
    users, items = histories(given["data"])
    with tempfile.TemporaryDirectory() as folder:
        train = Path(folder) / "datasets" / "given" / "train"
        train.mkdir(parents=True)
        (train / "input.txt").write_text("".join(" ".join(map(str, own)) + "\n" for own in users.values()))
        (train.parent / "dataset_stats.json").write_text(json.dumps({"num_items": items}))
        os.chdir(folder)
        loader = get_train_dataloader("given", given["batch"], given["length"], given["negatives"])
        os.chdir("/")
    model = GSASRec(items, given["length"], given["dim"], 1, given["layers"], given["dropout"])
    model.to(given["device"])
    adam = torch.optim.Adam(model.parameters())
    model.train()
    turns = Turns(given["device"])
    for positives, negatives in itertools.chain.from_iterable(loader for _ in itertools.count()):
        count = int((positives[:, :-1] != items + 1).sum())
        positives, negatives = on(given["device"], (positives, negatives))
        loss = loss_of(model, positives, negatives, items + 1, given["negatives"], given["t"])
        loss.backward()
        adam.step()
        adam.zero_grad()
        loss.item()
        turns.tick(count)


if __name__ == "__main__":
    main()
