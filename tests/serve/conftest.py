"""A small trained workdir, the service in this process, and the real command in another."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import httpx
import jax
import numpy as np
import polars as pl
import pytest

import jaxrec
from jaxrec.config import parsing as configs
from jaxrec.data import interactions, splits
from jaxrec.serve.app import Service
from jaxrec.serve.limits import Limits
from jaxrec.training import setup as setups
from jaxrec.training.workdirs import checkpoint, workdir

ROOT = Path(__file__).parents[2]
ITEMS = 40
JSON = {"Content-Type": "application/json"}
CONFIG = {
    "dataset": "histories",
    "seed": 0,
    "epochs": 1,
    "batch": 16,
    "length": 8,
    "eval_every": 1,
    "patience": 0,
    "model": {"name": "sasrec", "dim": 8, "layers": 1, "dropout": 0.1},
    "loss": {"name": "bce", "negatives": 1},
    "optim": {"name": "adam", "learning_rate": 1e-2},
}


def make_workdir(path, model="sasrec", steps=(1,), items=ITEMS):
    """A workdir whose catalogue is the integers 1..items, with titles, genres and counts, and initial params."""
    random = np.random.default_rng(0)
    data = interactions.from_sequences(
        [list(range(1, items + 1))] + [random.integers(1, items + 1, 8).tolist() for _ in range(30)]
    )
    about = pl.DataFrame(
        {"title": [f"Film {v:02}" for v in range(1, items + 1)], "genres": ["Drama|War", "Comedy"] * (items // 2)}
    )
    data = replace(data, catalogue=data.catalogue._replace(about=about))
    split = splits.last_item(data)
    both_sides = model == "bert4rec"
    named = CONFIG["model"] | {"name": model} | ({"norm": "post"} if both_sides else {})
    config = configs.from_dict(CONFIG | {"model": named, "objective": "cloze" if both_sides else "next-item"})
    path.mkdir(parents=True, exist_ok=True)
    workdir.claim(path, config, data, "histories", data.catalogue.counted(splits.training_counts(split)))
    setup = setups.setup(config, split, jax.devices()[:1])
    for step in steps:
        save(path, step, setups.initial(setup))
    return path, setups.initial(setup)


def save(path, step, state):
    checkpoints = checkpoint.Checkpoints(path)
    checkpoints.save(step, state, {})
    checkpoints.wait()
    checkpoints.close()


@pytest.fixture(scope="session")
def path(tmp_path_factory):
    return make_workdir(tmp_path_factory.mktemp("serve") / "run")[0]


@pytest.fixture(scope="session")
def recommender(path):
    return jaxrec.load(path)


@pytest.fixture
def ask(recommender):
    """`ask(work, **settings)` runs the coroutine `work(client, service)` against a service, and closes it."""

    def run(work, recommender=recommender, limits=None, **settings):
        async def body():
            service = Service(recommender, limits or Limits(deadline=30), **settings)
            service.batcher.size = 8
            transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)
            try:
                async with (
                    asyncio.timeout(60),
                    httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=JSON) as client,
                ):
                    return await work(client, service)
            finally:
                await asyncio.to_thread(service.close)

        return asyncio.run(body())

    return run


class Served:
    """`python serve.py` in a process of its own."""

    def __init__(self, *arguments, **environment):
        command = [sys.executable, str(ROOT / "serve.py"), "--port", "0", *map(str, arguments)]
        flags = {"XLA_FLAGS": "--xla_backend_optimization_level=0", "NPROC": "2", **environment}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | flags
        )
        self.said = []
        for line in self.process.stdout:
            self.said.append(line)
            if line.startswith("jaxrec serve"):
                break
        assert "http://" in self.said[-1], "".join(self.said)
        self.address = self.said[-1].split()[-1]
        self.client = httpx.Client(base_url=self.address, timeout=20, headers=JSON)

    def stop(self, signum=signal.SIGTERM):
        self.process.send_signal(signum)
        said = self.process.stdout.read()
        return self.process.wait(timeout=30), said

    def post(self, path, **body):
        return self.client.post(path, content=json.dumps(body))


@pytest.fixture
def serve():
    """`serve(*arguments)` starts the command and waits until it takes requests; it is killed at the end."""
    with contextlib.ExitStack() as stack:

        def start(*arguments, **environment):
            served = Served(*arguments, **environment)
            stack.callback(served.process.wait)
            stack.callback(served.process.kill)
            return served

        yield start


def until(true, seconds=60):
    """Waits until `true()`."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
