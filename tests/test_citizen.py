"""Importing jaxrec leaves the state of the caller's process as it was."""

import os
import subprocess
import sys
from pathlib import Path

IMPORTED = """
import importlib.util, logging, pkgutil, signal, sys, threading, warnings

import absl.logging
import matplotlib
for client in ("boto3", "requests"):  # which Orbax and tensorboardX bring where they are, and which filter warnings
    if importlib.util.find_spec(client):
        importlib.import_module(client)

def state():
    root, absl_logger = logging.root, absl.logging.get_absl_logger()
    return {
        "backend": dict.__getitem__(matplotlib.rcParams, "backend"),
        "verbosity": absl.logging.get_verbosity(),
        "loggers": [(log.level, log.handlers[:], log.filters[:], log.disabled) for log in (root, absl_logger)],
        "signals": {each: signal.getsignal(each) for each in signal.valid_signals()},
        "warnings": warnings.filters[:],
        "hooks": (sys.excepthook, sys.unraisablehook, threading.excepthook),
    }

before = state()
import jaxrec
for module in pkgutil.walk_packages(jaxrec.__path__, "jaxrec."):
    if importlib.util.find_spec("pyspark") or not module.name.startswith("jaxrec.data.spark."):  # an extra's
        importlib.import_module(module.name)
after = state()
slow = "orbax.checkpoint", "tensorboardX", "matplotlib.figure"  # a first step needs none of them
assert not {*slow} & {*sys.modules}
from jaxrec.training.workdirs.managers import orbax
orbax()
from jaxrec.system.figures import new_figure, save_figure
save_figure(new_figure(1, 1), sys.argv[1])
assert state() == after and "matplotlib.pyplot" not in sys.modules
for name in before:
    assert before[name] == after[name], (name, before[name], after[name])
"""


def test_importing_changes_nothing(tmp_path):
    root = Path(__file__).parents[1]
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    environment |= {"PYTHONPATH": os.pathsep.join([str(root), *sys.path]), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", IMPORTED, str(tmp_path / "a.png")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
