"""Does a search in a given time find more than `default` has? Searches with several seeds, on the same test users.

    python -m benchmarks.tuned --dataset beauty-5core --minutes 60 --seeds 3

Every search is `jaxrec tune` with a seed of its own. What it chose by the validation is compared with its own training
of `default` on the test, paired by user; a search that chose `default` gains 0. Searches are stored under --runs, and
are resumed, or reused when complete. With --plot, the trials of the first search are drawn as results/NAME.png.
"""

import argparse
import functools
import json
import statistics
from pathlib import Path

from benchmarks import record
from benchmarks.levers import ranks, summary
from jaxrec.api.halving import STATE
from jaxrec.api.logs import as_log
from jaxrec.api.search import Trial
from jaxrec.api.tuning import BEST, PLOT, tune
from jaxrec.evaluation.comparison import paired
from jaxrec.training.workdirs import workdir

COMPLETE = 0.85  # share of the time after which a search has ended, as it reserves some for its test


def searched(log, folder, minutes, seed):
    """Searches, or reuses a search. Returns what it did, in minutes, and its state."""
    read = lambda: json.loads((folder / STATE).read_text())
    if not (folder / BEST).exists() or read()["seconds"] < COMPLETE * 60 * minutes:
        tune(log, minutes=minutes, workdir=folder, seed=seed)
    state = read()
    trials = [Trial(**each) for each in state["trials"]]
    chosen = next(each for each in trials if each.name == (folder / BEST).resolve().name)
    row = {"seed": seed, "minutes": state["seconds"] / 60, "trials": len(trials), "changes": chosen.changes}
    return row | {"completed": sum(each.ended for each in trials), "valid": chosen.score}


def main(flags):
    """Runs the searches that are missing, and writes what they gain."""
    log, name = as_log(flags.dataset), Path(flags.dataset).name
    folders = [flags.runs / f"{name}-{seed}" for seed in range(flags.seeds)]
    rows = [searched(log, folder, flags.minutes, seed) for seed, folder in enumerate(folders)]
    found = {"tuned": [folder / BEST for folder in folders], "default": [folder / "default" for folder in folders]}
    of = functools.partial(ranks, log, part="test")
    on = {who: of([(path, workdir.read(path).config) for path in paths]) for who, paths in found.items()}
    for number, row in enumerate(rows):
        row |= {who: summary(asked[number : number + 1]) for who, asked in on.items()}
    result = {"kind": "tuned", "data": name, "budget": flags.minutes, "searches": rows}
    result |= {who: summary(asked) for who, asked in on.items()}
    result |= {"minutes": statistics.mean(row["minutes"] for row in rows), "gain": paired(on["tuned"], on["default"])}
    record.write(f"tuned_{name}", result)
    if flags.plot:
        record.place(f"tuned_{name}", "png").write_bytes((folders[0] / PLOT).read_bytes())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--plot", action="store_true", help="draw the trials of the first search")
    parser.add_argument("--runs", type=Path, default=Path("runs/tune"), help="folder of the searches")
    main(parser.parse_args())
