"""Damages files of a workdir and a prepared folder at random: what is trained and served is the same, or refused.

    python -m benchmarks.damage --damages 500

A training with two checkpoints, the best and a later one, is copied with its prepared data. One file of the copy is
damaged, and the copy is evaluated, loaded as for serving, and trained on. An outcome is right if the damage is refused
with a message, if the previous checkpoint is used and the log says so, or if the damage has no effect: the same
parameters, data, catalogue and configuration, bit for bit, and the same end of the training. Any other exception, a run
that doesn't end, and different numbers without a message are wrong.
"""

import argparse
import collections
import dataclasses
import io
import itertools
import logging
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from benchmarks import record
from jaxrec import cli
from jaxrec.config import parsing as configs
from jaxrec.data import sources, splits
from jaxrec.evaluation.evaluator import Evaluator
from jaxrec.evaluation.metrics import metrics
from jaxrec.inference import loading
from jaxrec.kernels.placement import replicated
from jaxrec.system.errors import UserError
from jaxrec.training import assembly, fit, metric_writer, setup as setups
from jaxrec.training.workdirs import restore, workdir
from jaxrec.training.workdirs.checkpoint import Checkpoints
from jaxrec.training.workdirs.leaves import abstract

SECONDS = 120  # after which a run counts as endless
REFUSED, SAME, BEFORE, NAMED = "refused", "the same", "the checkpoint before, and said", "the same, and said"
WRONG = ANOTHER, ENDLESS, CHANGED = "another exception", "endless", "changed without a word"
CONFIG = {
    "seed": 0,
    "epochs": 3,
    "batch": 16,
    "length": 8,
    "eval_every": 1,
    "patience": 0,
    "model": {"name": "sasrec", "dim": 8, "layers": 1, "dropout": 0.1},
    "loss": {"name": "bce", "negatives": 1},
    "optim": {"name": "adam", "learning_rate": 0.1},
}


class Words(logging.Handler):
    """Collects the messages of the log, instead of the terminal."""

    def __init__(self):
        super().__init__()
        self.said = []

    def emit(self, record):
        self.said.append(record.getMessage())


class Sound:
    """An undamaged prepared folder and workdir, whose best checkpoint is not the latest, with their results."""

    def __init__(self, folder):
        self.folder = folder
        drawn = np.random.default_rng(0)
        rows = [(u, drawn.integers(40), 1_600_000_000 + 600 * t + 3600 * (t // 4)) for u in range(60) for t in range(8)]
        lines = [f"u{u},i{v:02},{time},{drawn.integers(1, 6)}" for u, v, time in rows]
        log = folder / "log"
        log.mkdir()
        (log / "log.csv").write_text("\n".join(["user_id,item_id,timestamp,rating", *lines, ""]))
        (log / "items.csv").write_text("".join(["item_id,title\n", *(f"i{v:02},Title {v}\n" for v in range(40))]))
        arguments = ["--input", log, "--output", folder / "prepared", "--session-gap", 15]
        if cli.main(["prepare", *map(str, arguments)]):
            sys.exit("prepare failed")
        self.data = sources.load(str(folder / "prepared"))
        self.split = splits.last_item(self.data)
        config = configs.from_dict(CONFIG | {"dataset": str(folder / "prepared")})
        setup = assembly.assemble(config, self.split, jax.devices()[:1])
        self.setups = setup, dataclasses.replace(setup, config=dataclasses.replace(config, epochs=config.epochs + 1))
        judge = Evaluator(self.setups[0].model, self.setups[0].config, self.split, self.split.valid, jax.devices()[:1])
        self.validate = lambda params: metrics(judge.ranks(params))
        self.train(folder, self.setups[0])
        self.served = self.load(folder, "best"), self.load(folder, "latest")
        if self.served[0].step == self.served[1].step:
            sys.exit("the best checkpoint is the latest: change the data")
        whole = folder / "whole"
        shutil.copytree(folder, whole, ignore=shutil.ignore_patterns("whole"))
        self.train(whole, self.setups[1])
        self.end = self.outcome(whole)
        shutil.rmtree(whole)

    def train(self, folder, setup):
        """Trains as the command does, but with the programs that are already compiled."""
        path = folder / "workdir"
        data = self.read(folder)
        with workdir.locked(path) as held, held.named():
            workdir.claim(path, setup.config, data, str(folder / "prepared"))
            fit.fit(setup, path, self.validate, Console(file=io.StringIO()))

    def read(self, folder):
        """Loads the prepared data, which must be unchanged."""
        data = sources.load(str(folder / "prepared"))
        if hasattr(self, "data") and not same_data(data, self.data):
            raise Changed("data")
        return data

    def load(self, folder, checkpoint="best"):
        return loading.load(folder / "workdir", checkpoint)

    def serve(self, folder):
        """Loads as for serving, and checks what is loaded. Returns whether it is the best checkpoint."""
        got = self.load(folder)
        best, latest = self.served
        wanted = best if got.step == best.step else latest
        same = (
            got.step == wanted.step
            and leaves_equal(got.engine.params, wanted.engine.params)
            and same_catalogue(got.catalogue, wanted.catalogue)
            and got.config == wanted.config
        )
        if not same:
            raise Changed("what is served")
        return wanted is best

    def evaluate(self, folder):
        """Loads and checks the data and parameters of an evaluation. Returns whether it is the best checkpoint."""
        stored = workdir.read(folder / "workdir")
        workdir.check_data(folder / "workdir", stored, self.read(folder))
        model, best = self.setups[0].model, self.served[0]
        params, step = restore.restore_params(folder / "workdir", model, "best", replicated(jax.devices()[:1]))
        wanted = best if step == best.step else self.served[1]
        if step != wanted.step or not leaves_equal(params, wanted.engine.params):
            raise Changed("what is evaluated")
        return wanted is best

    def go_on(self, folder):
        """Trains one epoch more, and checks parameters and loop state. Returns whether metrics.jsonl is the same."""
        self.train(folder, self.setups[1])
        (*state, rows), (*wanted, wanted_rows) = self.outcome(folder), self.end
        if not leaves_equal(state[0], wanted[0]) or state[1] != wanted[1]:
            raise Changed("what is trained")
        return rows == wanted_rows

    def outcome(self, folder):
        """Returns (the latest State, the loop's state, the rows of metrics.jsonl), without seconds."""
        checkpoints = Checkpoints(folder / "workdir", read_only=True)
        shapes = jax.eval_shape(lambda: setups.initial(self.setups[1]))
        (state, loop), *_ = checkpoints.take(
            "latest", lambda step: checkpoints.restore(step, abstract(shapes, replicated(jax.devices()[:1])))
        )
        checkpoints.close()
        loop.pop("seconds")
        rows = metric_writer.read_rows(folder / "workdir" / "metrics.jsonl")
        return jax.device_get(state), loop, [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


class Changed(Exception):
    """The numbers differ, and no error was raised."""


class Endless(BaseException):
    """A run took too long."""


def leaves_equal(one, other):
    return all(map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(other)))


def same_catalogue(one, other):
    titled = (one.about is None) == (other.about is None) and (one.about is None or one.about.equals(other.about))
    return np.array_equal(one.ids, other.ids) and titled


def same_data(one, other):
    names = ("items", "offsets", "users", "times", "weights", "relative", "train_sessions", "digest")
    same = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)
    return same and same_catalogue(one.catalogue, other.catalogue) and leaves_equal(one.sessions, other.sessions)


def flip(file, moments):
    content = bytearray(file.read_bytes())
    content[moments.randrange(len(content))] ^= 1 << moments.randrange(8)
    file.write_bytes(content)


def truncate(file, moments):
    file.write_bytes(file.read_bytes()[: moments.randrange(file.stat().st_size)])


def zero(file, moments):
    content = bytearray(file.read_bytes())
    begin = moments.randrange(len(content))
    size = min(512, len(content) - begin)
    content[begin : begin + size] = bytes(size)
    file.write_bytes(content)


def append(file, moments):
    file.write_bytes(file.read_bytes() + moments.randbytes(moments.randrange(1, 100)))


def swap(file, moments):
    other = moments.choice([each for each in files(file.parents[len(file.parts) - 1 - at(file)]) if each != file])
    content = file.read_bytes()
    file.write_bytes(other.read_bytes())
    other.write_bytes(content)


def cut_copy(file, moments):
    """As after an interrupted copy: this file is cut short, and those after it are missing."""
    top = file.parents[len(file.parts) - 1 - at(file)]
    for each in files(top):
        if each > file:
            each.unlink()
    truncate(file, moments)


def at(file):
    """Returns the index of the workdir or the prepared folder in the parts of a path."""
    return max(file.parts.index(name) for name in ("workdir", "prepared") if name in file.parts)


def files(folder):
    return sorted(each for each in folder.rglob("*") if each.is_file())


def delete(file, moments):
    file.unlink()


KINDS = {
    "a bit flipped": flip,
    "cut short": truncate,
    "deleted": delete,
    "512 bytes zeroed": zero,
    "bytes appended": append,
    "swapped with another file": swap,
    "copy that was stopped": cut_copy,
}


def examine(run, words):
    """Returns (the outcome of a run, its messages)."""
    words.said.clear()
    signal.alarm(SECONDS)
    try:
        usual = run()
    except UserError as error:
        return REFUSED, str(error)
    except Endless:
        return ENDLESS, ""
    except Changed as error:
        return CHANGED, f"{error}; said: {words.said}"
    except Exception as error:  # a user would see a traceback
        return ANOTHER, f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    said = "; ".join(words.said)
    if said:
        return (NAMED if usual else BEFORE), said
    return (SAME if usual else CHANGED), said


def main(damages, seed, folder=None):
    """Returns the result: outcomes by kind of damage and run, and what was wrong."""
    moments, words = random.Random(seed), Words()
    log = logging.getLogger("jaxrec")
    log.addHandler(words)
    log.propagate = False
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(Endless()))
    with tempfile.TemporaryDirectory() as temporary:
        base, now = Path(temporary) / "sound", Path(temporary) / "now"
        base.mkdir()
        sound = Sound(base)
        counts, wrong = collections.defaultdict(collections.Counter), []
        names = [each.relative_to(base) for top in ("workdir", "prepared") for each in files(base / top)]
        names = [name for name in names if (base / name).stat().st_size]
        kinds = itertools.cycle(KINDS.items())
        for number in range(damages):
            kind, damage = next(kinds)
            shutil.copytree(base, now)
            name = moments.choice(names)
            damage(now / name, moments)
            for run in (sound.evaluate, sound.serve, sound.go_on):
                outcome, said = examine(lambda: run(now), words)  # noqa: B023
                counts[f"{kind}: {run.__name__}"][outcome] += 1
                if outcome in WRONG:
                    wrong.append(
                        {"kind": kind, "file": str(name), "run": run.__name__, "outcome": outcome, "said": said}
                    )
                    print(wrong[-1], flush=True)
            shutil.rmtree(now)
            if number % 50 == 49:
                print(f"{number + 1} damages, {len(wrong)} wrong", flush=True)
    log.removeHandler(words)
    log.propagate = True
    total = sum(counts.values(), collections.Counter())
    result = {"kind": "damage", "damages": damages, "files": len(names), "seed": seed}
    return result | {
        "outcomes": dict(total),
        "wrong": wrong,
        "by kind": {key: dict(value) for key, value in counts.items()},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--damages", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    result = main(flags.damages, flags.seed)
    record.write("damage", result)
    sys.exit(bool(result["wrong"]))
