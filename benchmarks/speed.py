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

Where JAX finds a GPU, ours also runs in bfloat16, peers use the GPU too, and the softmax has a PyTorch model tuned by
hand (`peers/tuned_torch.py`) as a further peer. The result then has the memory of the GPU that each held, the kernels
that a step of ours launches, and the share of the chip: the flops of a model (`limit.flops`) over those of a large
matrix product in its precision. Without --peers, ours run alone. --within stops before a task that would probably end
later than that many seconds. A peer that fails is left out, and named in the result.
"""

import argparse
import contextlib
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from benchmarks import limit, plots, record, tasks
from jaxrec.batches import objectives
from jaxrec.config import recipes
from jaxrec.training import assembly

HERE = Path(__file__).parent
MEASURED = ("device_bytes", "kernels")  # what only answers on a GPU have


class Ended(SystemExit):
    """A contender ended before its time; its messages are above."""


class Contender:
    """A process that works in its turns, and is stopped otherwise."""

    def __init__(self, command, env):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True, env=env
        )

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise Ended(f"{' '.join(self.process.args[:3])} ended with {self.process.wait()}: its messages are above")
        found = json.loads(line)
        return self.answer() if "ready" in found else found

    def grant(self, seconds):
        """Grants a turn, which begins as soon as it is ready."""
        os.killpg(self.process.pid, signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):  # it ended, as its missing answer will tell
            print(seconds, file=self.process.stdin, flush=True)

    def take(self):
        """Waits until its turn is over, and returns its real targets per second and per step."""
        answer = self.answer()
        os.killpg(self.process.pid, signal.SIGSTOP)
        row = {"rate": answer["targets"] / answer["seconds"], "per_step": answer["targets"] / answer["steps"]}
        return row | {key: answer[key] for key in MEASURED if key in answer}

    def turn(self, seconds):
        """Grants a turn, and waits for its end."""
        self.grant(seconds)
        return self.take()

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
        with contextlib.suppress(ProcessLookupError):
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


def started(task, flags, device, split, config, folder):
    """Starts the contenders of a task, and returns {label: Contender}. Those with peers' labels are peers."""
    name, ours, theirs = tasks.of(task, device)
    env = os.environ | ({"LD_PRELOAD": flags.preload} if flags.preload else {})
    env["PYTHONPATH"] = str(HERE.parent)
    contenders = {}
    for label, changes in ours.items():
        told = {"config": name, "mode": changes.get("mode", "training")}
        told["set"] = {"epochs": 100_000} | {key: value for key, value in changes.items() if key != "mode"}
        contenders[label] = Contender([sys.executable, "-m", "benchmarks.ours", json.dumps(told)], env)
    sizes = {"dim": config.model.dim, "layers": config.model.layers, "dropout": config.model.dropout}
    sizes |= {"mask": config.mask_prob, "device": device, "data": str(written(split, folder))}
    for label, (file, checkout, more) in theirs.items() if flags.peers else ():
        told = {"batch": config.batch, "length": config.length} | sizes | more
        if checkout:
            told["checkout"] = str(flags.peers.resolve() / checkout)
        script = str(HERE / "peers" / f"{file}.py")
        contenders[label] = Contender([flags.python, script, json.dumps(told)], env | {"PYTHONPATH": ""})
    return contenders


def in_turns(contenders, own, rounds, seconds):
    """Returns ({label: its turns}, {label: peak GiB of the host}, {label: why it failed}) of contenders in turns.

    Those that fail are left out, except our `own`. All start at once, as their first turns, with compilation, are left
    out.
    """
    turns, failed = {label: [] for label in contenders}, {}

    def asked(label, ask):
        if label not in failed:
            try:
                return ask()
            except Ended as error:
                if label in own:
                    raise
                print(f"{label} is left out: {error}", flush=True)
                failed[label] = str(error)
        return None

    for contender in contenders.values():
        contender.grant(seconds)
    for label, contender in contenders.items():
        asked(label, contender.take)
    for _ in range(rounds):
        for label, contender in contenders.items():
            turns[label].append(asked(label, lambda turn=contender.turn: turn(seconds)))
    held = {label: contender.peak() for label, contender in contenders.items()}
    return {label: each for label, each in turns.items() if label not in failed}, held, failed


def contest(task, flags, device, folder):
    """Runs one task, and returns its result."""
    name, ours, theirs = tasks.of(task, device)
    changed = lambda changes: {key: str(value) for key, value in changes.items() if key != "mode"}
    configs = {label: recipes.load(name, changed(changes))[0] for label, changes in ours.items()}
    config = next(iter(configs.values()))
    split = assembly.split_of(config)
    contenders = started(task, flags, device, split, config, folder)
    try:
        turns, held, failed = in_turns(contenders, ours, flags.rounds, flags.seconds)
    finally:
        for contender in contenders.values():
            contender.end()
    rows = {}
    for label, each in turns.items():
        rows[label] = {
            "targets_per_second": statistics.median(turn["rate"] for turn in each),
            "rates": [turn["rate"] for turn in each],
            "targets_per_step": each[-1]["per_step"],
            "peak_gib": held[label],
        } | {key: each[-1][key] for key in MEASURED if key in each[-1]}
    for label in ours:
        for peer in [each for each in theirs if each in rows]:
            ratios = [a / b for a, b in zip(rows[label]["rates"], rows[peer]["rates"], strict=True)]
            rows[label].setdefault("ratio", {})[peer] = [statistics.median(ratios), min(ratios), max(ratios)]
    evaluated = task.startswith("evaluation")
    bound = None
    if not evaluated:
        per_step = rows[next(iter(ours))]["targets_per_step"]
        bound = limit.targets_per_second(config, per_step * config.num_future_targets) / config.num_future_targets
    whole = len(split.test.source) if evaluated else epoch_of(config, split)
    for label, row in rows.items():
        row["epoch_seconds"] = whole / row["targets_per_second"]
        if device != "cpu" and not evaluated:
            half = configs[label].precision == "bfloat16" if label in ours else label.endswith("bf16")
            row["share"] = share(configs.get(label, config), row, "bfloat16" if half else "float32")
    result = {"config": name, "data": Path(config.dataset).name, "limit": bound, "rows": rows}
    return result | ({"failed": failed} if failed else {})


def share(config, row, precision):
    """The flops per second of a row's model, as a share of those of a matrix product in a precision."""
    per_target, _ = limit.flops_per_target(config)
    rate = row["targets_per_second"] * config.num_future_targets
    return float(rate * per_target / limit.peak(precision)["flops"])


def versions(python, peers):
    """The versions of the peers' packages and the commits of their checkouts, of those that are there."""
    names = ("torch", "rectools", "recbole", "pytorch-lightning", "transformers", "cut-cross-entropy", "liger-kernel")
    code = "import importlib.metadata as of, json; there = {each.metadata['name'] for each in of.distributions()}; "
    code += f"print(json.dumps({{n: of.version(n) for n in {names} if n in there}}))"
    found = json.loads(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout)
    for checkout in sorted({each[1] for _, _, theirs in tasks.TASKS.values() for each in theirs.values() if each[1]}):
        git = ["git", "-C", str(peers / checkout), "rev-parse", "--short=12", "HEAD"]
        if (peers / checkout).exists():
            found[checkout] = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    return found


def show(task, result):
    """Prints a line for each contender, and a line for each ratio."""
    print(f"\n{task}")
    for label, row in result["rows"].items():
        limited = result["limit"] and not label.startswith("jaxrec, ")  # it is that of the unchanged configuration
        more = f"{row['targets_per_second'] / result['limit']:.0%} of the limit" if limited else ""
        if "share" in row:
            more = f"{row['share']:.1%} of the chip"
        more += f", {row['device_bytes'] / 2**30:.2f} GiB of the GPU" if "device_bytes" in row else ""
        more += f", {row['kernels']} kernels a step" if "kernels" in row else ""
        print(
            f"  {label:36} {row['targets_per_second']:10,.0f}/s  {row['targets_per_step']:8,.0f} a step  "
            f"{row['peak_gib']:5.1f} GiB  {row['epoch_seconds']:8,.1f} s for all of it  {more}"
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


def parser():
    """The parser of the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="folder of checkouts; without it, ours alone")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has the peers' packages")
    parser.add_argument("--only", action="append", choices=list(tasks.TASKS), help="only this task; repeatable")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5, help="length of a turn")
    parser.add_argument("--within", type=float, default=math.inf, help="seconds for all tasks")
    parser.add_argument("--preload", help="a library for all contenders, such as jemalloc")
    parser.add_argument("--name", default="speed", help="name of the result")
    return parser


def main(flags):
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # contenders share a GPU, and say what they hold
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    begun, longest, results, skipped = time.monotonic(), 0, {}, []
    name = flags.name + (f"_{Path(flags.preload).name.partition('.')[0]}" if flags.preload else "")
    how = {"kind": "speed", "rounds": flags.rounds, "seconds": flags.seconds, "preload": flags.preload}
    how |= {"peers": versions(flags.python, flags.peers.resolve()) if flags.peers else {}}
    with tempfile.TemporaryDirectory() as folder:
        for task in flags.only or tasks.TASKS:
            now = time.monotonic()
            if now + longest > begun + flags.within:
                skipped.append(task)
                print(f"{task} is left out: no time is left for it", flush=True)
                continue
            results[task] = contest(task, flags, device, Path(folder))
            show(task, results[task])
            longest = max(longest, time.monotonic() - now)
            peaks = {"peak": limit.peak()} | ({} if device == "cpu" else {"peak_bfloat16": limit.peak("bfloat16")})
            how |= peaks | ({"left_out": skipped} if skipped else {})
            record.write(name, how | {"tasks": results})  # after each, in case this is stopped
    if skipped:
        record.write(name, how | {"left_out": skipped, "tasks": results})
    if any("ratio" in row for result in results.values() for row in result["rows"].values()):
        plot({"tasks": results}, record.place(name, "png"))


if __name__ == "__main__":
    main(parser().parse_args())
