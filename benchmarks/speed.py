"""jaxrec next to its peers: real targets per second, in turns on one machine, with the same users, sizes and batch.

    python -m benchmarks.speed --peers DIR --python DIR/venv/bin/python [--preload libjemalloc.so.2] [--only TASK ...]

DIR holds checkouts of SASRec.pytorch, sasrec-bert4rec-recsys23, gSASRec-pytorch and GRU4Rec_PyTorch_Official; the other
interpreter has torch, rectools and recbole (numpy < 2, transformers < 5). Each contender is a process of its own, which
is stopped while it is not its turn. "as shipped" is a peer's own loader and loop; "paired" is its model and step on
batches drawn beforehand. Ours is the whole of `fit`: plan, calls, metrics and saves. For an evaluation, what is the
same each time (packed histories, the items that users have seen) is made once. RecBole's Caser as shipped keeps its own
settings: a window of 50 where ours has 5, the softmax over the whole catalogue instead of three negatives, and 2,048
samples per step. The several targets of a slot (Caser) count as one, as a peer's sample does, so that an epoch is the
same work.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import limit, plots, record
from jaxrec.batches import objectives
from jaxrec.config import recipes
from jaxrec.training import assembly

HERE = Path(__file__).parent
OFFICIAL = {"layers": [100], "loss": "cross-entropy", "batch_size": 32, "dropout_p_hidden": 0.4, "learning_rate": 0.2}
OFFICIAL |= {"momentum": 0.2, "sample_alpha": 0.5, "n_sample": 2048, "logq": 1.0, "constrained_embedding": True}
BEAUTY = {"dataset": "beauty-bert4rec", "length": 50, "row": 50}
RECSYS23, RECTOOLS = ("recsys23", "sasrec-bert4rec-recsys23"), ("rectools_fit", None)
GRU4REC = ("gru4rec_official", "GRU4Rec_PyTorch_Official")
#: a sample has one target and one negative; a step has about as many samples as ours has slots
CASER = {"embedding_size": 50, "nh": 16, "nv": 4, "dropout_prob": 0.5, "reg_weight": 0.0, "train_batch_size": 1600}
CASER |= {"loss_type": "BPR", "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}}
SASREC, GSASREC = ("sasrec_pytorch", "SASRec.pytorch"), ("gsasrec", "gSASRec-pytorch")

#: {name: (our configuration, {label of ours: its changes}, {peer: (file, checkout, its options)})}
TASKS = {
    "bce-ml1m": (
        "sasrec_ml1m",
        {"jaxrec": {}},
        {
            "SASRec.pytorch as shipped": (*SASREC, {"mode": "shipped"}),
            "SASRec.pytorch paired": (*SASREC, {"mode": "paired"}),
        },
    ),
    "bce-beauty": (
        "sasrec_ml1m",
        {"jaxrec": BEAUTY, "jaxrec, row-sparse": BEAUTY | {"optim.sparse": True}},
        {
            "SASRec.pytorch as shipped": (*SASREC, {"mode": "shipped"}),
            "SASRec.pytorch paired": (*SASREC, {"mode": "paired"}),
        },
    ),
    "softmax-ml1m": (
        "sasrec_softmax_ml1m",
        {"jaxrec": {}},
        {
            "recsys23 paired": (*RECSYS23, {"mode": "paired", "model": "sasrec"}),
            "RecTools as shipped": (*RECTOOLS, {"mode": "shipped", "model": "sasrec"}),
        },
    ),
    "softmax-beauty": (
        "sasrec_softmax_beauty_bert4rec",
        {"jaxrec": {}},
        {
            "recsys23 paired": (*RECSYS23, {"mode": "paired", "model": "sasrec"}),
            "RecTools as shipped": (*RECTOOLS, {"mode": "shipped", "model": "sasrec"}),
        },
    ),
    "bert4rec-ml1m": (
        "bert4rec_ml1m",
        {"jaxrec": {}},
        {
            "recsys23 paired": (*RECSYS23, {"mode": "paired", "model": "bert4rec"}),
            "RecTools as shipped": (*RECTOOLS, {"mode": "shipped", "model": "bert4rec"}),
        },
    ),
    "gbce-ml1m": (
        "gsasrec_ml1m",
        {"jaxrec": {}},
        {"gSASRec-pytorch as shipped": (*GSASREC, {"mode": "shipped", "negatives": 256, "t": 0.75})},
    ),
    "gru4rec-rsc15": (
        "gru4rec_rsc15",
        {"jaxrec": {}},
        {
            "GRU4Rec_PyTorch_Official as shipped": (*GRU4REC, {"mode": "shipped", "settings": OFFICIAL}),
            "GRU4Rec_PyTorch_Official paired": (*GRU4REC, {"mode": "paired", "settings": OFFICIAL}),
        },
    ),
    "caser-ml1m": (
        "caser_ml1m",
        {"jaxrec": {}},
        {
            "RecBole as shipped": ("recbole_fit", None, {"model": "Caser", "length": 50}),
            "RecBole with our sizes": ("recbole_fit", None, {"model": "Caser", "length": 5, "settings": CASER}),
        },
    ),
    "evaluation-ml1m": (
        "sasrec_softmax_ml1m",
        {"jaxrec": {"mode": "evaluation"}},
        {
            "recsys23 as shipped": (*RECSYS23, {"mode": "evaluation", "model": "sasrec"}),
            "RecTools as shipped": (*RECTOOLS, {"mode": "evaluation", "model": "sasrec"}),
        },
    ),
}


class Contender:
    """A process that works in its turns, and is stopped otherwise."""

    def __init__(self, command, env):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True, env=env
        )
        self.answer()
        self.pause()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{' '.join(self.process.args[:3])} ended with {self.process.wait()}: its messages are above")
        return json.loads(line)

    def pause(self):
        os.killpg(self.process.pid, signal.SIGSTOP)

    def turn(self, seconds):
        """Grants a turn, and returns its real targets per second and per step."""
        os.killpg(self.process.pid, signal.SIGCONT)
        print(seconds, file=self.process.stdin, flush=True)
        answer = self.answer()
        self.pause()
        return {"rate": answer["targets"] / answer["seconds"], "per_step": answer["targets"] / answer["steps"]}

    def peak(self):
        """Peak memory in GiB, summed over its processes; what a loader's processes share with it counts for each."""
        total = 0
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
                if os.getsid(int(fields["Pid"])) == self.process.pid:
                    total += int(fields["VmHWM"].split()[0])
            except (OSError, KeyError):  # it ended meanwhile, or is the kernel's
                continue
        return total / 2**20

    def end(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def epoch_of(config, split):
    """The number of real targets in an epoch of training, counted as in a turn."""
    objective = objectives.build(config)
    subsequences = objective.subsequences(split.start, split.stop, config.length, config.history)
    return int(objective.count(subsequences.length).sum()) / config.num_future_targets


def written(split, folder):
    """Writes the training histories of a split for the peers, and returns the path of the file."""
    items, start, stop = split.interactions.items, split.start, split.stop
    path = folder / "histories.npz"
    offsets = np.concatenate([[0], np.cumsum(stop - start)])
    flat = np.concatenate([items[a:b] for a, b in zip(start, stop, strict=True)])
    np.savez(path, items=flat, offsets=offsets, catalogue=len(split.interactions.catalogue.ids))
    return path


def contest(task, peers, python, preload, rounds, seconds, folder):
    """Runs one task, and returns its result."""
    name, ours, theirs = TASKS[task]
    env = os.environ | ({"LD_PRELOAD": preload} if preload else {})
    env["PYTHONPATH"] = str(HERE.parent)
    contenders = {}
    first = next(iter(ours.values()))
    config, _ = recipes.load(name, {key: str(value) for key, value in first.items() if key != "mode"})
    try:
        for label, changes in ours.items():
            told = {"config": name, "mode": changes.get("mode", "training")}
            told["set"] = {"epochs": 100_000} | {key: value for key, value in changes.items() if key != "mode"}
            contenders[label] = Contender([sys.executable, "-m", "benchmarks.ours", json.dumps(told)], env)
        split = assembly.split_of(config)
        path = written(split, folder)
        sizes = {"dim": config.model.dim, "layers": config.model.layers, "dropout": config.model.dropout}
        sizes |= {"mask": config.mask_prob}
        for label, (file, checkout, more) in theirs.items():
            told = {"data": str(path), "batch": config.batch, "length": config.length} | sizes | more
            if checkout:
                told["checkout"] = str(peers / checkout)
            script = str(HERE / "peers" / f"{file}.py")
            contenders[label] = Contender([python, script, json.dumps(told)], env | {"PYTHONPATH": ""})
        for contender in contenders.values():
            contender.turn(seconds)  # compiles, warms up
        turns = {label: [] for label in contenders}
        for _ in range(rounds):
            for label, contender in contenders.items():
                turns[label].append(contender.turn(seconds))
        rows = {
            label: {
                "targets_per_second": statistics.median(each["rate"] for each in turns[label]),
                "rates": [each["rate"] for each in turns[label]],
                "targets_per_step": turns[label][-1]["per_step"],
                "peak_gib": contender.peak(),
            }
            for label, contender in contenders.items()
        }
    finally:
        for contender in contenders.values():
            contender.end()
    for label in ours:
        for peer in theirs:
            ratios = [a / b for a, b in zip(rows[label]["rates"], rows[peer]["rates"], strict=True)]
            rows[label].setdefault("ratio", {})[peer] = [statistics.median(ratios), min(ratios), max(ratios)]
    evaluated = task.startswith("evaluation")
    per_step = next(iter(rows.values()))["targets_per_step"]
    bound = (
        None
        if evaluated
        else limit.targets_per_second(config, per_step * config.num_future_targets) / config.num_future_targets
    )
    whole = len(split.test.source) if evaluated else epoch_of(config, split)
    for row in rows.values():
        row["epoch_seconds"] = whole / row["targets_per_second"]
    return {"config": name, "data": Path(config.dataset).name, "limit": bound, "rows": rows}


def versions(python, peers):
    """The versions of the peers' packages, and the commits of their checkouts."""
    names = ("torch", "numpy", "recbole", "rectools", "pytorch-lightning", "transformers")
    code = f"import importlib.metadata as of, json; print(json.dumps({{n: of.version(n) for n in {names}}}))"
    found = json.loads(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout)
    for checkout in sorted({each[1] for _, _, theirs in TASKS.values() for each in theirs.values() if each[1]}):
        git = ["git", "-C", str(peers / checkout), "rev-parse", "--short=12", "HEAD"]
        found[checkout] = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    return found


def show(task, result):
    """Prints a line for each contender, and a line for each ratio."""
    print(f"\n{task}")
    for label, row in result["rows"].items():
        limited = result["limit"] and not label.startswith("jaxrec, ")  # it is that of the unchanged configuration
        share = f"{row['targets_per_second'] / result['limit']:.0%} of the limit" if limited else ""
        print(
            f"  {label:36} {row['targets_per_second']:10,.0f}/s  {row['targets_per_step']:8,.0f} a step  "
            f"{row['peak_gib']:5.1f} GiB  {row['epoch_seconds']:8,.1f} s for all of it  {share}"
        )
        for peer, (median, low, high) in row.get("ratio", {}).items():
            print(f"    {median:.2f} [{low:.2f}..{high:.2f}] times {peer}")


def plot(result, path):
    """Draws how many times as fast as each peer each of ours is, one bar per pair."""
    bars = [
        (f"{task}{label.removeprefix('jaxrec')}: {peer}", *ratio)
        for task, of_task in result["tasks"].items()
        for label, row in of_task["rows"].items()
        for peer, ratio in row.get("ratio", {}).items()
    ][::-1]
    labels, median, low, high = zip(*bars, strict=True)
    figure, (axes,) = plots.panels(width=8, height=0.35 * len(bars) + 1)
    error = [np.subtract(median, low), np.subtract(high, median)]
    axes.barh(labels, median, xerr=error, color="tab:blue", capsize=3)
    axes.axvline(1, color="grey", linewidth=1)
    axes.set(xscale="log", xlabel="times the peer's rate: median, range")
    plots.save(figure, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True, help="folder of checkouts")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has the peers' packages")
    parser.add_argument("--only", action="append", choices=list(TASKS), help="only this task; repeatable")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5, help="length of a turn")
    parser.add_argument("--preload", help="a library for all contenders, such as jemalloc")
    parser.add_argument("--name", default="speed", help="name of the result")
    flags = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for task in flags.only or TASKS:
            results[task] = contest(
                task, flags.peers.resolve(), flags.python, flags.preload, flags.rounds, flags.seconds, Path(folder)
            )
            show(task, results[task])
    name = flags.name + (f"_{Path(flags.preload).name.partition('.')[0]}" if flags.preload else "")
    how = {"kind": "speed", "rounds": flags.rounds, "seconds": flags.seconds, "preload": flags.preload}
    how |= {"peers": versions(flags.python, flags.peers.resolve()), "peak": limit.peak()}
    record.write(name, how | {"tasks": results})
    plot({"tasks": results}, record.place(name, "png"))
