"""The README's first training, as a person starts it: its wall time, and how near it comes to the best reachable.

python -m benchmarks.quickstart
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax

from benchmarks import record
from jaxrec import commands, workdir
from jaxrec.baselines import COUNTED
from jaxrec.data import sources, splits, synthetic
from jaxrec.models import build

ROOT = Path(__file__).parents[1]


def main():
    """Seconds of the whole command, and HR@10 and NDCG@10 on the test split of all that it compares."""
    with tempfile.TemporaryDirectory() as folder:
        path, begun = Path(folder) / "run", time.monotonic()
        command = [sys.executable, str(ROOT / "train.py"), "--config", "quickstart", "--workdir", str(path)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - begun
        config = workdir.read(path).config
        split, devices = splits.last_item(sources.load(config.dataset)), jax.local_devices()
        model = build(config, len(split.interactions.catalogue.ids), len(split.interactions.users))
        rows = {config.model.name: commands.test_of(path, model, config, split, devices)["metrics"]}
    for baseline in COUNTED:
        rows[baseline] = commands.baseline_result(baseline, split, "full", "test", devices)["metrics"]
    rows["best reachable"] = synthetic.best_metrics(sources.world(config.dataset), split.interactions, split.test)
    return {
        "kind": "quickstart",
        "seconds": seconds,
        "rows": {name: {key: metrics[key] for key in ("hr@10", "ndcg@10")} for name, metrics in rows.items()},
    }


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    record.write("quickstart", main())
