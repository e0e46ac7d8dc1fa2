"""Every peer of the speed benchmark takes turns with checkouts and packages that only have the names that it uses."""

import json
import os
import subprocess
import sys

import numpy as np
import printed
import pytest
import tiny_peers

pytest.importorskip("torch")
pytest.importorskip("pandas")

LENGTHS, ITEMS = (5, 1, 9, 4, 7), 12
TARGETS = sum(length - 1 for length in LENGTHS)  # in an epoch
SIZES = {"batch": 2, "length": 4, "dim": 4, "layers": 1, "dropout": 0.1, "mask": 0.5, "t": 0.5, "negatives": 3}
#: [(script, its options)]
PEERS = [
    ("sasrec_pytorch", {"mode": "shipped"}),
    ("sasrec_pytorch", {"mode": "paired"}),
    ("recsys23", {"mode": "shipped", "model": "sasrec"}),
    ("recsys23", {"mode": "paired", "model": "bert4rec"}),
    ("recsys23", {"mode": "evaluation", "model": "sasrec"}),
    ("gsasrec", {"mode": "shipped"}),
    ("gru4rec_official", {"mode": "shipped", "settings": {"layers": [4]}}),
    ("gru4rec_official", {"mode": "paired", "settings": {"layers": [4]}}),
    ("rectools_fit", {"mode": "shipped", "model": "bert4rec"}),
    ("rectools_fit", {"mode": "evaluation", "model": "sasrec"}),
    ("recbole_fit", {"model": "Caser", "settings": {"embedding_size": 4}}),
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return tiny_peers.write(tmp_path_factory.mktemp("peers"))


@pytest.fixture(scope="module")
def histories(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "histories.npz"
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)])
    items = np.random.default_rng(0).integers(1, ITEMS + 1, offsets[-1])
    np.savez(path, items=items, offsets=offsets, catalogue=ITEMS)
    return path


def answers(script, told, checkout, seconds=(0.05, 0.05)):
    """The answers of a peer in turns of some seconds."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(checkout), *filter(None, sys.path)])}
    env["OMP_NUM_THREADS"] = "1"  # more only wait for each other here
    command = [sys.executable, str(printed.ROOT / "benchmarks" / "peers" / f"{script}.py"), json.dumps(told)]
    granted = "".join(f"{each}\n" for each in seconds)
    done = subprocess.run(command, input=granted, capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    first, *rest = map(json.loads, done.stdout.splitlines())
    assert first == {"ready": True} and len(rest) == len(seconds)
    return rest


@pytest.mark.parametrize("device", ["cpu", "meta"])  # any device but a CPU: its tensors have shapes only
@pytest.mark.parametrize(("script", "more"), PEERS, ids=[f"{name} {more.get('mode')}" for name, more in PEERS])
def test_a_peer_does_its_turns_on_the_device_that_it_is_told(script, more, device, checkout, histories):
    told = SIZES | more | {"device": device, "data": str(histories), "checkout": str(checkout)}
    for seconds, answer in zip((0.05, 0.05), answers(script, told, checkout), strict=True):
        assert answer["steps"] > 0 and answer["targets"] > 0
        assert answer["seconds"] >= seconds


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_the_tuned_model_does_its_turns(precision, checkout, histories):
    told = SIZES | {"device": "cpu", "data": str(histories), "precision": precision}
    *_, last = answers("tuned_torch", told, checkout)
    most = SIZES["batch"] * SIZES["length"]
    assert 0 < last["targets"] <= most * last["steps"]
