"""A SASRec in PyTorch, tuned by hand: the function that `sasrec_softmax_*` trains, as fast as torch can be made to go.

It is no published peer, but what a good engineer would get. Attention is fused, only the slots with a target are
scored, Adam is fused, the loss is compiled, and a whole step with its update is one CUDA graph. Scores are plain
products, or those of a package that fuses them with the loss, if one is there: the faster is taken. Batches are drawn
beforehand and lie on the device, one padded row per user. "precision": "bf16" (autocast) or "tf32".

On a CPU it runs without graph and compilation, for tests.
"""

import contextlib
import itertools
import time

import torch
from data import histories
from torch.nn import functional as F
from turns import Turns, arguments

BATCHES = 32
NO_TARGET = -100
STEPS = 20  # of each way to score, before the faster is taken


class SASRec(torch.nn.Module):
    """Kang & McAuley 2018 as jaxrec computes it: item 0 is no item, and a row's items begin at its first slot."""

    def __init__(self, items, length, dim, layers, dropout):
        super().__init__()
        linear, norm = torch.nn.Linear, lambda: torch.nn.LayerNorm(dim, eps=1e-8)
        self.items, self.positions = torch.nn.Embedding(items + 1, dim), torch.nn.Embedding(length, dim)
        self.dim, self.dropout = dim, dropout
        sizes = {"query": dim, "key_value": 2 * dim, "out": dim, "inner": dim, "outer": dim}
        block = lambda: {"attention_norm": norm(), "feed_norm": norm()} | {k: linear(dim, n) for k, n in sizes.items()}
        self.blocks = torch.nn.ModuleList(torch.nn.ModuleDict(block()) for _ in range(layers))
        self.last_norm = norm()
        for parameter in self.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.02)

    def drop(self, x):
        return F.dropout(x, self.dropout, self.training)

    def encode(self, shown_BT):
        """[B, T] -> [B, T, D]"""
        real = (shown_BT != 0).unsqueeze(-1)
        x = self.items(shown_BT) * self.dim**0.5 + self.positions.weight[: shown_BT.shape[1]]
        x = self.drop(x * real)
        for block in self.blocks:
            query = block["attention_norm"](x)
            parts = block["query"](query), *block["key_value"](x).chunk(2, dim=-1)
            q, k, v = (part.unsqueeze(1) for part in parts)  # one head; items lie first, so that none sees padding
            rate = self.dropout if self.training else 0.0
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=rate).squeeze(1)
            x = block["feed_norm"](query + block["out"](mixed))
            x = x + self.drop(block["outer"](F.relu(self.drop(block["inner"](x)))))
        return self.last_norm(x)

    def loss(self, shown_BT, at_N, target_N, score):
        """The mean of the softmax loss. at_N: flat places of slots with targets, filled up with NO_TARGET."""
        hidden_ND = self.encode(shown_BT).flatten(0, 1).index_select(0, at_N)
        return score(hidden_ND, self.items.weight[1:], torch.where(target_N > 0, target_N - 1, NO_TARGET))


def plain(hidden_ND, table_VD, target_N):
    """Cross-entropy of all scores."""
    return F.cross_entropy(hidden_ND @ table_VD.T, target_N, ignore_index=NO_TARGET)


def scores(cuda, half):
    """The ways to score that there are, {name: function as `plain`}. The packages need a GPU, and one bfloat16."""
    found = {"plain": plain}
    if cuda and half:
        with contextlib.suppress(ImportError):
            from cut_cross_entropy import linear_cross_entropy

            found["cut_cross_entropy"] = lambda hidden_ND, table_VD, target_N: linear_cross_entropy(
                hidden_ND.bfloat16(), table_VD.bfloat16(), target_N, ignore_index=NO_TARGET
            )
    if cuda:
        with contextlib.suppress(ImportError):
            from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

            liger = LigerFusedLinearCrossEntropyLoss(ignore_index=NO_TARGET)
            found["liger"] = lambda hidden_ND, table_VD, target_N: liger(
                table_VD.to(hidden_ND.dtype), hidden_ND, target_N
            )
    return found


def batches(users, size, length, device, number=BATCHES):
    """Draws batches of one shape: [((items shown [B, T], places [N], targets [N]), number of targets)]."""
    generator, own = torch.Generator().manual_seed(0), list(users.values())
    shown = torch.zeros((number, size, length), dtype=torch.long)
    labels = torch.zeros_like(shown)
    for batch in range(number):
        drawn = torch.randperm(len(own), generator=generator)[:size].tolist()
        for row, user in enumerate(drawn):
            items = torch.tensor(own[user][-length - 1 :])
            shown[batch, row, : len(items) - 1], labels[batch, row, : len(items) - 1] = items[:-1], items[1:]
    flat = labels.flatten(1)
    counts = (flat > 0).sum(1).tolist()
    most = min(-(-max(counts) // 256) * 256, size * length)
    at = torch.argsort((flat == 0).byte(), dim=1, stable=True)[:, :most]  # slots with targets first
    targets = flat.gather(1, at)
    moved = [tensor.to(device) for tensor in (shown, at, targets)]
    return [(tuple(each[i] for each in moved), counts[i]) for i in range(number)]


class Step:
    """A step of training: call it with the tensors of a batch, and it returns the loss, on the device.

    Args:
        model: SASRec.
        score: as `plain`.
        half: whether products are in bfloat16.
        example: the tensors of a batch. The CUDA graph is captured with them, after a few steps.
    """

    def __init__(self, model, score, half, example):
        self.cuda = example[0].is_cuda
        self.cast = lambda: torch.autocast(example[0].device.type, torch.bfloat16, half, cache_enabled=not self.cuda)
        self.adam = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True, capturable=self.cuda)
        self.loss = lambda *tensors: model.loss(*tensors, score)
        self.graph = None
        if self.cuda:
            torch._dynamo.reset()
            self.loss = torch.compile(self.loss)
            self.capture(example)

    def once(self, tensors):
        self.adam.zero_grad(set_to_none=True)
        with self.cast():
            loss = self.loss(*tensors)
        loss.backward()
        self.adam.step()
        return loss.detach()

    def capture(self, example):
        """Captures the whole step over copies of the inputs."""
        self.inputs, side = [tensor.clone() for tensor in example], torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(4):
                self.once(self.inputs)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.result = self.once(self.inputs)

    def __call__(self, tensors):
        if self.graph is None:
            return self.once(tensors)
        torch._foreach_copy_(self.inputs, list(tensors))
        self.graph.replay()
        return self.result


def fastest(made, drawn):
    """Of functions that make a Step, returns the Step that takes the least time; those that fail are left out."""
    timed = []
    for name, make in made.items():
        try:
            step = make()
            for seconds in range(2):  # the first time warms it up
                begun = time.perf_counter()
                for tensors, _ in itertools.islice(itertools.cycle(drawn), STEPS):
                    loss = step(tensors)
                loss.item()
                seconds = time.perf_counter() - begun
            print(f"{name}: {1e3 * seconds / STEPS:.3f} ms a step")
            timed.append((seconds, len(timed), step))
        except Exception as error:  # a package that this chip or this torch does not suit
            if name == "plain":
                raise
            print(f"{name}: {error!r}")
    return min(timed)[-1]


def main():
    given = arguments()
    cuda, half = given["device"] != "cpu", given["precision"] == "bf16"
    torch.set_float32_matmul_precision("high")  # tf32, where products are not in bfloat16
    users, items = histories(given["data"])
    drawn = batches(users, min(given["batch"], len(users)), given["length"], given["device"])

    def make(score):
        torch.manual_seed(0)
        sizes = given["dim"], given["layers"], given["dropout"]
        model = SASRec(items, given["length"], *sizes).to(given["device"]).train()
        return Step(model, score, half, drawn[0][0])

    found = {name: lambda score=score: make(score) for name, score in scores(cuda, half).items()}
    step = fastest(found, drawn) if len(found) > 1 else make(plain)
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    turns = Turns(given["device"])
    for tensors, count in itertools.cycle(drawn):
        step(tensors)
        turns.tick(count)


if __name__ == "__main__":
    main()
