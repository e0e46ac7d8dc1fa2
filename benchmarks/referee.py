"""Judges public models, run by their own code, with `jaxrec evaluate --scores`, and compares with their own metrics.

    python -m benchmarks.referee --peer implicit --dataset ml-1m-sasrec --python VENV/bin/python
    python -m benchmarks.referee --peer sasrec-pytorch --dataset beauty-5core --python VENV/bin/python --checkout DIR
    python -m benchmarks.referee --mistakes taste

VENV has the peer's packages: implicit, "rectools[torch]", or torch for sasrec-pytorch, whose repository
(pmixer/SASRec.pytorch) is at --checkout. Scores are stored under --folder; if they exist, they are only judged again.
Each run adds its row to the result and to the table of docs/evaluation.md, or replaces the row of an earlier run. With
--mistakes, a model of benchmarks/mistakes.py is judged with mistakes made on purpose, and its rows are replaced.
"""

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import mistakes, record
from jaxrec import cli
from jaxrec.data import sources

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "evaluation.md"
EXACT = 1e-6  # tolerance; with drawn candidates, it is the interval of a difference instead
SHOWN = ("hr@10", "ndcg@10")


class Peer(NamedTuple):
    """A script of benchmarks/peers, the file of scores that it writes, and its options."""

    script: str
    scores: str
    options: dict[str, Any]


PEERS = {
    "implicit": Peer("scores_implicit", "scores.npz", {"dim": 64}),
    "rectools-ease": Peer("scores_rectools", "scores.csv", {"model": "ease", "settings": {}, "k": 100}),
    "rectools-sasrec": Peer(
        "scores_rectools",
        "scores.csv",
        {"model": "sasrec", "settings": {"n_factors": 64, "n_heads": 1, "n_blocks": 2, "epochs": 3}, "k": 100},
    ),
    "sasrec-pytorch": Peer("scores_sasrec_pytorch", "scores.npz", {"length": 50, "dropout": 0.5, "epochs": 3}),
}


def make(peer, folder, dataset, python, checkout):
    """Has the peer train on a log and write its scores and metrics."""
    log = sources.load(dataset)
    folder.mkdir(parents=True, exist_ok=True)
    places = np.asarray(log.items) - 1
    np.savez(folder / "log.npz", users=log.users, items=log.catalogue.ids, places=places, offsets=log.offsets)
    told = peer.options | {"folder": str(folder.resolve()), "checkout": str(checkout and checkout.resolve())}
    subprocess.run([python, str(HERE / "peers" / f"{peer.script}.py"), json.dumps(told)], check=True)


def judged(scores, dataset, protocol, *more):
    """Returns the result of `jaxrec evaluate --scores` for these scores."""
    result = scores.parent / f"judged_{protocol}.json"
    flags = ["--scores", str(scores), "--dataset", dataset, "--protocol", protocol, "--json", str(result), *more]
    if cli.main(["evaluate", *flags]):
        raise SystemExit(f"{scores} can't be judged")
    return json.loads(result.read_text())


def row(name, peer, folder, dataset):
    """Returns a row of the result: the peer's own metrics, those that it is judged to have, and whether they agree."""
    own = json.loads((folder / "own.json").read_text())
    scores, beyond = folder / peer.scores, ["--beyond-accuracy", "--ranks", str(folder / "ranks.parquet")]
    full = judged(scores, dataset, "full", *beyond)
    same = full if own["protocol"] == "full" else judged(scores, dataset, own["protocol"])
    found = same["metrics"] | full["beyond_accuracy"]["metrics"]
    bounds = dict.fromkeys(own["metrics"], EXACT)
    if same is not full:
        wider = np.sqrt(1 + full["users"] / own["users"])  # both draw candidates, and the peer maybe users
        bounds = {each: wider * (same["ci95"][each][1] - same["metrics"][each]) for each in own["metrics"]}
    apart = {each: found[each] - value for each, value in own["metrics"].items()}
    return {
        "peer": name,
        "data": dataset,
        "options": peer.options,
        "versions": own["versions"],
        "own": {name: own[name] for name in ("protocol", "users", "metrics")},
        "judged": {each: found[each] for each in own["metrics"]},
        "apart": apart,
        "agree": all(abs(apart[each]) <= bounds[each] for each in apart),
        "full": {each: full["metrics"][each] for each in SHOWN},
        "ci95": {each: full["ci95"][each] for each in SHOWN},
        "beyond_accuracy": full["beyond_accuracy"]["metrics"],
        "warnings": [each["trap"] for each in full["warnings"]],
        "command": shlex.join(["python", "-m", "benchmarks.referee", "--peer", name, "--dataset", dataset]),
    }


def table(rows):
    """The rows as Markdown."""
    lines = [
        "| | data | protocol | by its own code | judged | coverage, Gini, novelty, diversity |",
        "|---|---|---|---|---|---|",
    ]
    for each in rows:
        protocol, own = each["own"]["protocol"], each["own"]["metrics"]
        pair = lambda found: " / ".join(f"{found[name]:.4f}".lstrip("0") for name in SHOWN)
        more = [each["beyond_accuracy"][f"{name}@10"] for name in ("coverage", "gini", "novelty", "diversity")]
        lists = "{:.3f}, {:.3f}, {:.2f}, {:.3f}".format(*more)
        package, version = next(iter(each["versions"].items()))
        name = each["peer"] + ("" if each["peer"] == package else f", {package}") + f" {version}"
        lines.append(f"| {name} | {each['data']} | {protocol} | {pair(own)} | {pair(each['judged'])} | {lists} |")
        if protocol != "full":
            lines.append(f"| | | full | | {pair(each['full'])} | |")
    return "\n".join(lines) + "\n"


def write(page, name, text):
    """Returns the text of a page with this table between the marks of that name."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    head, rest = page.split(begin)
    return head + begin + text + end + rest.split(end)[1]


def main(flags):
    path = record.place("referee", "json")
    kept = json.loads(path.read_text()) if path.exists() else {}
    rows, wrong = kept.get("rows", []), kept.get("mistakes", [])
    if flags.mistakes:
        wrong = [each for each in wrong if each["model"] != flags.mistakes] + mistakes.measured(flags.mistakes)
    else:
        peer, folder = PEERS[flags.peer], flags.folder / f"{flags.peer}-{flags.dataset}"
        if not (folder / "own.json").exists():
            make(peer, folder, flags.dataset, flags.python, flags.checkout)
        new = row(flags.peer, peer, folder, flags.dataset)
        rows = [each for each in rows if (each["peer"], each["data"]) != (new["peer"], new["data"])]
        rows = sorted([*rows, new], key=lambda each: (each["data"], each["peer"]))
        print(json.dumps(new, indent=2))
    result = {"kind": "referee", "rows": rows, "mistakes": wrong}
    record.write("referee", result, "python -m benchmarks.referee (each row has its own; --mistakes)")
    page = write(PAGE.read_text(), "referee", table(rows))
    PAGE.write_text(write(page, "mistakes", mistakes.table(wrong)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--peer", choices=PEERS)
    what.add_argument("--mistakes", choices=mistakes.MODELS, help="judge this model with mistakes made on purpose")
    parser.add_argument("--dataset", default="ml-1m-sasrec")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with the peer's packages")
    parser.add_argument("--checkout", type=Path, help="for sasrec-pytorch: a checkout of its repository")
    parser.add_argument("--folder", type=Path, default=Path("runs/referee"), help="folder of the scores")
    main(parser.parse_args())
