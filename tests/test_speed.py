"""The speed benchmark: who takes part on which device, turns of contenders, and benchmarks/gpu.sh as a whole."""

import os
import subprocess
import sys

import jax
import printed
import pytest

from benchmarks import ours, rate, speed, tables, tasks
from jaxrec import cli
from jaxrec.config import recipes

PEAK = {"float32": 1e9, "bfloat16": 2e9}
#: a contender that does as many targets a second as its first argument says, and fails in the turn of the second
CONTENDER = """
import sys
from benchmarks.peers.turns import Turns
rate, fails = map(int, sys.argv[1:])
turns = Turns(about=lambda: {"device_bytes": rate, "other": 1})
for number in range(10**9):
    turns.begun -= 1 / rate
    if turns.begun and number == fails:
        sys.exit(3)
    turns.tick(1)
"""


def contender(rate, fails=-1):
    env = os.environ | {"PYTHONPATH": str(printed.ROOT)}
    return speed.Contender([sys.executable, "-c", CONTENDER, str(rate), str(fails)], env)


def test_contenders_take_turns_and_a_peer_that_fails_is_left_out():
    running = {"jaxrec": contender(10), "good": contender(5), "at once": contender(5, 0), "later": contender(5, 7)}
    try:
        turns, held, failed = speed.in_turns(running, ["jaxrec"], 3, 1.0)
    finally:
        for each in running.values():
            each.end()
    assert list(turns) == ["jaxrec", "good"] and set(failed) == {"at once", "later"} and set(held) == set(running)
    for label, wanted in (("jaxrec", 10), ("good", 5)):
        assert len(turns[label]) == 3
        assert all(0.5 * wanted < turn["rate"] <= wanted for turn in turns[label])
        assert all(turn["per_step"] == 1 and turn["device_bytes"] == wanted for turn in turns[label])
        assert not any("other" in turn for turn in turns[label])


def test_ours_must_not_fail():
    running = {"jaxrec": contender(5, 0)}
    with pytest.raises(SystemExit, match="ended with 3"):
        speed.in_turns(running, ["jaxrec"], 1, 0.2)
    running["jaxrec"].end()


@pytest.mark.parametrize("task", tasks.TASKS)
def test_on_a_gpu_a_task_has_all_that_it_has_on_a_cpu_and_bfloat16(task):
    (name, ours, theirs), on_gpu = tasks.of(task), tasks.of(task, "cuda")
    assert (name, ours, theirs) == tasks.TASKS[task] and on_gpu[0] == name
    assert ours.items() <= on_gpu[1].items() and theirs.items() <= on_gpu[2].items()
    assert len(on_gpu[1]) == 2 * len(ours)
    tuned = {label: told for label, told in on_gpu[2].items() if label not in theirs}
    assert {told[2]["precision"] for told in tuned.values()} == ({"tf32", "bf16"} if task in tasks.ON_GPU else set())
    for changes in on_gpu[1].values():
        recipes.load(name, {key: str(value) for key, value in changes.items() if key != "mode"})
    for file, _, _ in on_gpu[2].values():
        assert (printed.ROOT / "benchmarks" / "peers" / f"{file}.py").exists()


def test_only_a_gpus_answers_tell_of_its_memory_and_kernels(monkeypatch):
    text = jax.jit(lambda x: (x @ x).sum()).lower(jax.numpy.ones((9, 9))).compile().as_text()
    assert ours.about(text) == {}
    device = type("Device", (), {"memory_stats": lambda self: {"peak_bytes_in_use": 7}})()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    assert ours.about() == {"device_bytes": 7}
    assert ours.about(text)["kernels"] >= 1


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_contest_reports_each_contender_and_on_a_gpu_its_share_of_the_chip(device, monkeypatch, tmp_path, capsys):
    sizes = {"dataset": "synthetic:users=60,items=100", "length": 8, "row": 8}
    own, peers = {"jaxrec": sizes}, {"peer": ("sasrec_pytorch", None, {}), "broken": ("sasrec_pytorch", None, {})}
    monkeypatch.setitem(tasks.TASKS, "bce-ml1m", ("sasrec_ml1m", own, peers))
    monkeypatch.setattr(speed.limit, "peak", lambda precision="float32": {"flops": PEAK[precision], "bytes": 1e9})
    made = lambda *_: {label: contender(9, 0 if label == "broken" else -1) for label in every}
    monkeypatch.setattr(speed, "started", made)
    _, ours_there, _ = tasks.of("bce-ml1m", device)
    every = [*ours_there, *peers]
    flags = speed.parser().parse_args(["--rounds", "2", "--seconds", "0.5"])
    result = speed.contest("bce-ml1m", flags, device, tmp_path)
    assert list(result["rows"]) == [*ours_there, "peer"] and list(result["failed"]) == ["broken"]
    for label, row in result["rows"].items():
        assert set(row.get("ratio", {})) == ({"peer"} if label in ours_there else set())
        assert ("share" in row) == (device == "cuda")
    if device == "cuda":  # the same work in a second is less of a larger peak
        full, half = (result["rows"][label] for label in ours_there)
        shares = [row["share"] / row["targets_per_second"] for row in (full, half)]
        assert shares[0] == pytest.approx(2 * shares[1])
    speed.show("bce-ml1m", result)
    shown = capsys.readouterr().out
    assert ("of the chip" in shown) == (device == "cuda") and ("of the limit" in shown) == (device == "cpu")
    stamped = {"machine": "a chip", "rounds": 2, "seconds": 0.5, "preload": None, "tasks": {"bce-ml1m": result}}
    assert tables.speed(stamped, None).count("\n| ") == 1 + len(ours_there)


# --- gpu.sh

PYTHON = """#!/bin/bash
case $1 in
-c) PYTHONPATH=$(dirname "$0") exec {python} "$@" ;;
*) printf '%s\\0' "$@" >> {calls}; printf '\\n' >> {calls} ;;
esac
"""
PARSERS = {"benchmarks.speed": speed.parser, "benchmarks.rate": rate.parser}


def script(tmp_path, *arguments, backend="gpu", **env):
    """Runs gpu.sh with a JAX that has a backend, and a python that only notes what it is called with.

    Returns (exit status, what it says of errors, [the arguments of each call])."""
    calls = tmp_path / "calls"
    calls.write_text("")
    (tmp_path / "jax.py").write_text(f"default_backend = lambda: {backend!r}\n")
    (tmp_path / "python").write_text(PYTHON.format(python=sys.executable, calls=calls))
    (tmp_path / "python").chmod(0o755)
    done = subprocess.run(
        ["bash", str(printed.ROOT / "benchmarks" / "gpu.sh"), *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"} | env,
    )
    return done.returncode, done.stderr, [line.split("\0")[:-1] for line in calls.read_text().splitlines()]


def test_without_a_gpu_it_says_how_to_get_jax_for_one(tmp_path):
    status, said, calls = script(tmp_path, backend="cpu")
    assert status == 1 and "pip install" in said and not calls


@pytest.mark.parametrize("given", [(), ("--peers", "/peers", "--python", "/venv/bin/python")])
def test_on_a_gpu_it_checks_agreement_first_and_ends_within_ten_minutes(given, tmp_path):
    status, said, calls = script(tmp_path, *given)
    assert (status, said) == (0, "") and [call[1] for call in calls] == [
        f"benchmarks.{each}" for each in ("agree", "speed", "rate")
    ]
    parsed = {call[1]: PARSERS[call[1]]().parse_args(call[2:]) for call in calls if call[1] in PARSERS}
    contest, rates = parsed["benchmarks.speed"], parsed["benchmarks.rate"]
    assert contest.within < rates.within < 600
    assert (str(contest.peers), contest.python) == (given[1::2] or ("None", sys.executable))
    assert {"softmax-ml1m", "softmax-beauty"} <= set(contest.only)
    assert {recipes.load(name, {})[0].model.name for name in rates.config} >= {"sasrec", "bert4rec", "gru4rec", "caser"}


def test_variables_name_peers_as_flags_do(tmp_path):
    _, _, calls = script(tmp_path, PEERS="/peers", PYTHON="/venv/bin/python")
    (told,) = (speed.parser().parse_args(call[2:]) for call in calls if call[1] == "benchmarks.speed")
    assert (str(told.peers), told.python) == ("/peers", "/venv/bin/python")


def test_trainings_are_of_recipes_in_the_precision_asked_for(tmp_path):
    for env in ({}, {"PRECISION": "float32"}):
        status, said, calls = script(tmp_path, "--train", **env)
        assert (status, said) == (0, "")
        trained = [call[1:] for call in calls if call[0] == "train.py"]
        measured = [call for call in calls if call[0] == "-m"]
        assert {call[1] for call in measured} == {"benchmarks.quality"} and len(trained) == 3 * len(measured)
        for call in trained:
            arguments, overrides = cli.parse(["train", *call])
            config, _ = recipes.load(arguments.config, overrides)
            assert config.precision == env.get("PRECISION", "bfloat16")


@pytest.mark.parametrize("given", [["--trian"], ["--peers"]])
def test_a_wrong_argument_measures_nothing(given, tmp_path):
    status, said, calls = script(tmp_path, *given)
    assert status and said and not calls
