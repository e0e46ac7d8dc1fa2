"""Checkouts and packages of peers with only the names and calls that benchmarks/peers uses, as small as can be.

Each checks that what it is given lies where its own parameters do.
"""

import textwrap

SAME = """
import torch

plain = torch.Tensor.item
torch.Tensor.item = lambda self: 0.0 if self.is_meta else plain(self)


class Net(torch.nn.Module):
    '''Scores of all items at each slot.'''

    def __init__(self, items, dim):
        super().__init__()
        self.item_emb, self.out = torch.nn.Embedding(items, dim), torch.nn.Linear(dim, items)

    def at(self, *tensors):
        assert {tensor.device for tensor in tensors} == {self.out.weight.device}
        return tensors[0]

    def scores(self, shown):
        return self.out(self.item_emb(self.at(shown)))
"""

FILES = {
    "same.py": SAME,
    "python/model.py": """
        import numpy as np
        import torch
        from same import Net


        class SASRec(Net):
            def __init__(self, users, items, args):
                super().__init__(items + 1, args.hidden_units)
                self.dev, self.more = args.device, (args.num_blocks, args.num_heads, args.dropout_rate, args.maxlen)
                assert not args.norm_first

            def forward(self, users, shown, following, other):
                assert isinstance(shown, np.ndarray)
                hidden = self.item_emb(self.at(torch.as_tensor(shown, device=self.dev)))
                return hidden.sum(-1), hidden.mean(-1)
    """,
    "python/utils.py": """
        import numpy as np


        class WarpSampler:
            def __init__(self, users, number, items, batch_size, maxlen, n_workers):
                self.shape, self.items = (batch_size, maxlen), items

            def next_batch(self):
                draw = lambda: np.random.randint(1, self.items + 1, self.shape)
                return np.arange(self.shape[0]), draw(), draw(), draw()

            def close(self):
                pass
    """,
    "src/datasets.py": """
        import torch


        class CausalLMDataset(torch.utils.data.Dataset):
            def __init__(self, table, max_length):
                assert {"user_id", "item_id", "time_idx"} <= set(table)
                self.users, self.length = table.groupby("user_id")["item_id"].agg(list).to_dict(), max_length

            def __len__(self):
                return len(self.users)

            def __getitem__(self, at):
                items = list(self.users.values())[at][: self.length + 1]
                return {"input_ids": items[:-1], "labels": items[1:]}


        class MaskedLMDataset(CausalLMDataset):
            def __init__(self, table, max_length, mlm_probability):
                super().__init__(table, max_length)


        class CausalLMPredictionDataset(CausalLMDataset):
            def __getitem__(self, at):
                return super().__getitem__(at) | {"user_id": [at]}


        class PaddingCollateFn:
            def __call__(self, batch):
                made = {}
                for key in batch[0]:
                    padding = -100 if key == "labels" else 0
                    parts = [torch.tensor(each[key]) for each in batch]
                    made[key] = torch.nn.utils.rnn.pad_sequence(parts, True, padding)
                return made | {"attention_mask": (made["input_ids"] > 0).float()}
    """,
    "src/models.py": """
        from same import Net


        class SASRec(Net):
            def __init__(self, items, length, dim, layers, heads, dropout):
                super().__init__(items + 1, dim)


        class BERT4Rec(Net):
            def __init__(self, vocab_size, bert_config):
                super().__init__(vocab_size, bert_config["hidden_size"])
    """,
    "src/modules.py": """
        import pytorch_lightning
        import torch


        class SeqRec(pytorch_lightning.LightningModule):
            def __init__(self, model, lr):
                super().__init__()
                self.model, self.lr = model, lr

            def configure_optimizers(self):
                return torch.optim.Adam(self.parameters(), lr=self.lr)

            def training_step(self, batch, index):
                scores, labels = self.model.scores(batch["input_ids"]), self.model.at(batch["labels"])
                return torch.nn.functional.cross_entropy(scores.flatten(0, 1), labels.flatten())

            def predict_step(self, batch, index):
                self.model.at(*batch.values())
                return self.model.scores(batch["input_ids"])
    """,
    "dataset_utils.py": """
        import json
        from pathlib import Path

        import torch


        def get_train_dataloader(name, batch, length, negatives):
            folder = Path("datasets") / name
            items = json.loads((folder / "dataset_stats.json").read_text())["num_items"]
            rows = (folder / "train" / "input.txt").read_text().splitlines()
            draw = lambda *shape: torch.randint(1, items + 1, (batch, length + 1, *shape))
            return [(draw(), draw(negatives)) for _ in rows]
    """,
    "gsasrec.py": """
        from same import Net


        class GSASRec(Net):
            def __init__(self, items, length, dim, heads, layers, dropout):
                super().__init__(items + 2, dim)

            def forward(self, shown):
                return self.item_emb(self.at(shown)), []

            def get_output_embeddings(self):
                return self.item_emb
    """,
    "gru4rec_pytorch.py": """
        import torch
        from same import Net


        class SessionDataIterator:
            def __init__(self, table, lanes, device):
                self.items, self.lanes, self.device = table.ItemId, lanes, device

            def __call__(self, enable_neg_samples, reset_hook=None):
                items = torch.tensor(self.items[: self.lanes + 1], device=self.device)
                for _ in range(3):
                    yield items[:-1], items[1:]


        class GRU4Rec:
            def __init__(self, layers, n_epochs, device):
                self.layers, self.epochs, self.device = layers, n_epochs, device

            def loss_function(self, scores, targets, lanes):
                return torch.nn.functional.cross_entropy(scores, targets)

            def fit(self, table):
                net = Net(int(table.ItemId.max()) + 1, *self.layers).to(self.device)
                assert {"SessionId", "ItemId", "Time"} == set(table)
                iterator = SessionDataIterator(table, 2, self.device)
                for _ in range(self.epochs):
                    for shown, asked in iterator(True):
                        self.loss_function(net.scores(shown), net.at(asked), 2).backward()
    """,
    "pytorch_lightning.py": """
        import json
        import sys


        class Callback:
            pass


        class Trainer:
            def __init__(self, max_epochs, accelerator, devices, callbacks, **off):
                assert accelerator == ("cpu" if json.loads(sys.argv[1])["device"] == "cpu" else "gpu") and devices == 1
                self.epochs, self.callbacks = max_epochs, callbacks
    """,
    "rectools/__init__.py": """
        class Columns:
            User, Item, Weight, Datetime = "user_id", "item_id", "weight", "datetime"
    """,
    "rectools/dataset.py": """
        class Dataset:
            @classmethod
            def construct(cls, table):
                assert {"user_id", "item_id", "weight", "datetime"} == set(table)
                return cls()
    """,
    "rectools/models.py": """
        import torch


        class SASRecModel:
            def __init__(self, n_blocks, n_factors, n_heads, dropout_rate, session_max_len, batch_size, loss, lr,
                         get_trainer_func, mask_prob=None):
                self.trainer, self.shape = get_trainer_func(), (batch_size, session_max_len)

            def fit(self, data):
                for _ in range(10**6 * self.trainer.epochs):
                    batch = {"y": torch.ones(self.shape)}
                    for each in self.trainer.callbacks:
                        each.on_train_batch_start(self.trainer, None, batch, 0)
                        each.on_train_batch_end(self.trainer, None, None, batch, 0)

            def recommend(self, users, data, k, filter_viewed):
                assert len(users) > 1


        BERT4RecModel = SASRecModel
    """,
    "recbole/__init__.py": "",
    "recbole/config.py": """
        class Config(dict):
            def __init__(self, model, dataset, config_dict):
                device = "meta" if config_dict["use_gpu"] else "cpu"
                super().__init__(config_dict, model=model, MODEL_TYPE="sequential", device=device)
    """,
    "recbole/data.py": """
        from pathlib import Path
        from types import SimpleNamespace


        def create_dataset(config):
            return (Path(config["data_path"]) / "given" / "given.inter").read_text().splitlines()


        def data_preparation(config, rows):
            assert rows[0].split("\\t") == ["user_id:token", "item_id:token", "timestamp:float"]
            return SimpleNamespace(dataset=rows, length=len(rows)), None, None
    """,
    "recbole/utils.py": """
        import torch
        from same import Net


        class Batch:
            def __init__(self, shown):
                self.shown, self.length = shown, len(shown)


        class Model(Net):
            def __init__(self, config, dataset):
                super().__init__(len(dataset), config["embedding_size"])

            def calculate_loss(self, batch):
                return self.scores(batch.shown).sum()


        class Trainer:
            def __init__(self, config, model):
                self.config, self.model = config, model

            def fit(self, train, verbose, saved):
                for _ in range(self.config["epochs"]):
                    batch = Batch(torch.zeros(3, dtype=torch.long, device=self.config["device"]))
                    self.model.calculate_loss(batch).backward()


        def init_seed(seed, reproducible):
            torch.manual_seed(seed)


        def get_model(name):
            return Model


        def get_trainer(kind, name):
            return Trainer
    """,
}


def write(folder):
    """Writes them all into a folder, which is both a checkout of each and a place of packages, and returns it."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder
