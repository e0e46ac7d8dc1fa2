"""antklen/sasrec-bert4rec-recsys23: its data sets, collation, models and training step, without Lightning's loop.

"shipped": its own data loader; "paired": batches drawn beforehand; "evaluation": its ranking for every user.
"""

import itertools
import sys
from types import ModuleType

import torch
from data import frame, on
from turns import Turns, arguments

given = arguments()
sys.path.insert(0, given["checkout"] + "/src")
sys.modules["pytorch_lightning"] = ModuleType("pytorch_lightning")  # the step only needs a plain module
sys.modules["pytorch_lightning"].LightningModule = torch.nn.Module
from datasets import CausalLMDataset, CausalLMPredictionDataset, MaskedLMDataset, PaddingCollateFn  # noqa: E402
from models import BERT4Rec, SASRec  # noqa: E402
from modules import SeqRec  # noqa: E402


def made(items):
    """Builds the model of its configuration files, with our sizes."""
    if given["model"] == "bert4rec":
        sizes = {"hidden_size": given["dim"], "num_hidden_layers": given["layers"], "num_attention_heads": 2}
        more = {"vocab_size": 2, "max_position_embeddings": given["length"], "intermediate_size": 4 * given["dim"]}
        return BERT4Rec(vocab_size=items + 2, bert_config=sizes | more)
    return SASRec(items, given["length"], given["dim"], given["layers"], 1, given["dropout"])


def main():
    masked = given["model"] == "bert4rec"
    table, items = frame(given["data"], first=2 if masked else 1)
    device, module = given["device"], SeqRec(made(items), lr=1e-3).to(given["device"])
    collate = PaddingCollateFn()
    load = lambda data, size, shuffle: torch.utils.data.DataLoader(data, size, shuffle, collate_fn=collate)
    if given["mode"] == "evaluation":
        module.eval()
        questions = CausalLMPredictionDataset(table, max_length=given["length"])
        turns = Turns(device)
        with torch.no_grad():
            for batch in itertools.chain.from_iterable(load(questions, 256, False) for _ in itertools.count()):
                module.predict_step(on(device, batch), 0)
                turns.tick(len(batch["user_id"]))
    module.train()
    kind = MaskedLMDataset if masked else CausalLMDataset
    own = {"mlm_probability": given["mask"]} if masked else {}
    drawn = load(kind(table, max_length=given["length"], **own), given["batch"], True)
    endless = itertools.chain.from_iterable(drawn for _ in itertools.count())
    endless = ((on(device, batch), int((batch["labels"] != -100).sum())) for batch in endless)
    if given["mode"] == "paired":
        endless = itertools.cycle(list(itertools.islice(endless, 32)))
    adam = module.configure_optimizers()
    turns = Turns(device)
    for batch, count in endless:
        loss = module.training_step(batch, 0)
        adam.zero_grad()
        loss.backward()
        adam.step()
        turns.tick(count)


if __name__ == "__main__":
    main()
