"""Every command and every block of Python that README and docs print does what it says, on a small scale.

A command runs as it stands, in a folder that holds small stand-ins under the names that the pages use. `HOW` lists how
each kind of command is tested. A command that matches no line of it fails, as does one that names a file without a
stand-in.
"""

import json
import os
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from functools import cache
from itertools import pairwise
from pathlib import Path

import httpx
import printed
import pytest
import tried
from stand_ins import SMALL, SYNTHETIC, write_all

from jaxrec import cli
from jaxrec.config import parsing, recipes

PRINTED = [each for page in printed.PAGES for each in printed.on(page)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder to run in, with the repository's launchers and stand-ins for everything that the pages name."""
    place = tmp_path_factory.mktemp("docs")
    write_all(place)
    return place


@pytest.fixture
def here(place, monkeypatch):
    """`here(path, *arguments)` runs a launcher or module in that folder, with the arguments of the command."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("JAXREC_CACHE", str(place / "cache"))
    monkeypatch.setattr(os, "_exit", sys.exit)  # else a command that fails would end the tests
    for hook in ("excepthook", "unraisablehook"):  # launchers set these: restored after the test
        monkeypatch.setattr(sys, hook, getattr(sys, hook))
    interrupt = signal.getsignal(signal.SIGINT)

    def run(program, *arguments):
        monkeypatch.setattr(sys, "argv", [program, *arguments])
        with pytest.raises(SystemExit) as ended:
            if program.endswith(".py"):
                runpy.run_path(program, run_name="__main__")
            else:
                runpy.run_module(program, run_name="__main__", alter_sys=True)
        assert not ended.value.code, (program, arguments)

    yield run
    signal.signal(signal.SIGINT, interrupt)


def install(here, words):
    """Needs the network: only checks that each extra is one of the project's, and that a folder is the project."""
    extras = tomllib.loads((printed.ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    if "-c" in words:
        assert (printed.ROOT / words[-1]).exists() and words[-2] == "-c", "constraints come last"
        words = words[:-2]
    for word in words[2:]:
        target, _, wanted = word.partition("[")
        assert word == "-e" or target in (".", "jaxrec"), word
        assert all(each in extras for each in filter(None, wanted.rstrip("]").split(",")))


def launch(here, words):
    """Runs as it stands, but a training takes one epoch of a small model, on generated data where it names none."""
    words = words[1:] if words[0] == "python" else [f"{words[1]}.py", *words[2:]]
    if words[0] == "train.py":
        _, given = cli.split_overrides(words)
        small = {}
        if "--config" in words:
            config = runpy.run_path(f"configs/{Path(words[words.index('--config') + 1]).stem}.py")["get_config"]()
            small = {"dataset": SYNTHETIC} | {key: value for key, value in SMALL.items() if has(config, key)}
        words += [f"--config.{key}={value}" for key, value in small.items() if key not in given]
        if "--workdir" not in words:
            words += ["--workdir", "runs/unnamed"]
        for at, (before, word) in enumerate(pairwise(["", *words])):  # keeps the stand-ins for later commands
            words[at] = word if before == "--init-from" else word.replace("runs/", "trained/")
        shutil.rmtree("trained", ignore_errors=True)
    here(*words)


def has(config, key):
    group, _, rest = key.partition(".")
    return group in config and (not rest or has(config[group], rest))


def as_it_stands(here, words):
    """Runs as it stands."""
    here(*words)


def tuning(here, words):
    """Runs for three seconds, with a small model."""
    words[words.index("--minutes") + 1] = "0.05"
    here(*words, *(f"--set={key}={value}" for key, value in {"epochs": 1, "model.dim": 8, "length": 8}.items()))


def comparing(here, words):
    """Runs one epoch, with a small model."""
    words = ["epochs=1" if word.startswith("epochs=") else word for word in words]
    here(*words, *(f"--set={key}={value}" for key, value in {"epochs": 1, "model.dim": 8, "length": 8}.items()))


def backtest(here, words):
    """Runs on the twelve hours of the stand-in, with a small model."""
    small = {"--train-days": "0.2", "--test-days": "0.1", "--folds": "2"}
    words = [small.get(before, word) for before, word in pairwise(["", *words])]
    words = [word if word != "30music-sample10" else "my/ratings" for word in words]
    here(*words, *(f"--set={key}={value}" for key, value in {"epochs": 1, "model.dim": 8, "length": 8}.items()))


def export(here, words):
    """Runs as it stands; ONNX needs jax2onnx."""
    if "onnx" in words:
        pytest.importorskip("jax2onnx")
    here(*words)


def parse(here, words):
    """Takes hours, or needs peers' checkouts: only its arguments are parsed."""
    assert parsed()[shlex.join(words)] == ""


@cache
def parsed():
    """{command: error in its arguments, or ""} of all benchmarks, in one process as starting takes most of the time."""
    program = """
import argparse, contextlib, io, json, runpy, sys

class Parsed(Exception):
    pass

def parse_args(self, real=argparse.ArgumentParser.parse_args):
    real(self)
    raise Parsed

argparse.ArgumentParser.parse_args = parse_args
found = []
for sys.argv in json.load(sys.stdin):
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        found.append("it parsed nothing")
    except Parsed:
        found.append("")
    except SystemExit:
        found.append(said.getvalue())
json.dump(found, sys.stdout)
"""
    asked = [text for text in COMMANDS if text.startswith("python -m benchmarks.")]
    given = json.dumps([shlex.split(text)[2:] for text in asked])
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=printed.ROOT, input=given, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(map(shlex.join, map(shlex.split, asked)), json.loads(done.stdout), strict=True))


#: (what a command begins with, the function that tests it, whose docstring says what is run and why)
HOW = [
    (r"pip install ", install),
    (r"(JAXREC_\w+=\S+ )?python -m pytest", tried.suite),
    (r"mkdir ", tried.folder),
    (r"(ln|mv) ", tried.link),
    (r"docker (build|run) ", tried.docker),
    (r"(ruff|pyright|pre-commit|mkdocs) ", tried.check),
    (r"(JAXREC_\w+=\S+ )?bash benchmarks/", tried.bash),
    (r"python -m benchmarks\.", parse),
    (r"python -m jaxrec\.data\.spark ", tried.spark),
    (r"(srun|gcloud) |(python train\.py|jaxrec \w+) .*--coordinator ", tried.cluster),
    (r"python prepare\.py .*s3://", tried.stored),
    (r"python (train|evaluate|serve)\.py .*s3://", tried.far),
    (r"python (prepare|train|evaluate)\.py (?!.*(--coordinator |s3://))", launch),
    (r"jaxrec (prepare|train|evaluate) (?!.*--coordinator )", launch),
    (r"jaxrec (recommend|vectors|keys|configs)\b(?!.*--coordinator )", as_it_stands),
    (r"jaxrec export ", export),
    (r"jaxrec tune (?!.*--coordinator )", tuning),
    (r"jaxrec compare ", comparing),
    (r"jaxrec backtest ", backtest),
    (r"python serve\.py (?!.*s3://)|curl ", tried.serving),
]
SLOW = [
    r"python -m jaxrec\.data\.spark ",
    r"jaxrec export .*onnx",
    r"jaxrec (tune|compare|backtest) ",
    r"(python train\.py (?!.*(--coordinator |s3://))|jaxrec train )",
    r"python evaluate\.py .*--",
]
COMMANDS = list(dict.fromkeys(text for each in PRINTED if each.kind == "command" for text in printed.commands(each)))


@pytest.mark.parametrize(
    "command",
    [pytest.param(text, marks=pytest.mark.slow if any(re.match(s, text) for s in SLOW) else ()) for text in COMMANDS],
)
def test_a_command_does_what_it_says(here, command):
    how = [run for pattern, run in HOW if re.match(pattern, command)]
    assert len(how) == 1, f"say in HOW what is to be run of it: {command}"
    how[0](here, shlex.split(command))


def test_every_training_has_its_configuration_and_known_keys(here):
    trainings = [text for text in COMMANDS if re.match(r"(python train\.py|jaxrec train) ", text)]
    assert len(trainings) > 2
    for text in trainings:
        arguments, overrides = cli.parse(["train", *shlex.split(text)[2:]])
        parsing.check_keys(recipes.read(arguments.config or "default", overrides).values)


#: Python of the pages that takes minutes -> the same on a small scale
QUICK = {
    'workdir="runs/shop")': 'workdir="trained/shop", epochs=1, length=8, model={"dim": 8})',
    'load("runs/shop")': 'load("trained/shop")',
    '["gru4rec", "sasrec"])': '["gru4rec", "sasrec"], epochs=1, model={"dim": 8})',
    "minutes=60": "minutes=0.05",
    "train_days=28, test_days=7)": 'train_days=0.2, test_days=0.1, folds=2, epochs=1, model={"dim": 8})',
}
PAGES = sorted({each.page for each in PRINTED if each.kind == "python"})


TRAINING = ("README.md", "backtest.md", "training.md")  # pages whose Python trains for more than a moment


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=pytest.mark.slow if page in TRAINING else ()) for page in PAGES]
)
def test_the_python_of_a_page_runs_from_top_to_bottom(here, place, page):
    if page == "serving.md" and not Path("model.hlo").exists():
        here("jaxrec", "export", "--workdir", "runs/a", "--format", "stablehlo", "--output", "model.hlo")
    names = {}
    for each in PRINTED:
        if each.page == page and each.kind == "python":
            small = re.sub(r"\b(\d{1,3}(_000)+)\b", "400", each.text)  # such as the generator's millions of users
            for long, quick in QUICK.items():
                small = small.replace(long, quick)
            if "onnxruntime" in small:
                continue  # run by test_a_command_does_what_it_says and test_export, where the file is made
            exec(compile(small, str(each), "exec"), names)
    assert len(names) > 1


@pytest.mark.slow
@pytest.mark.parametrize("page", ["serving.md", "README.md"])
def test_the_service_and_its_requests(place, page):
    """Runs each start of the service that a page prints, on a free port, and the requests that follow it."""
    lines = [
        text for each in PRINTED if each.page == page and each.kind == "command" for text in printed.commands(each)
    ]
    starts = [at for at, text in enumerate(lines) if "serve.py" in text]
    assert starts
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        words = [*shlex.split(lines[start])[1:], "--port", "0"]
        flags = {"XLA_FLAGS": "--xla_backend_optimization_level=0", "JAXREC_CACHE": str(place / "cache")}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        with subprocess.Popen([sys.executable, *words], cwd=place, env=os.environ | flags, **pipes) as process:
            try:
                said = next(line for line in process.stdout if line.startswith("jaxrec serve"))
                for text in lines[start + 1 : end]:
                    if text.startswith("curl "):
                        ask(said.split()[-1], shlex.split(text))
            finally:
                process.terminate()
                process.stdout.read()
        assert process.returncode == 0


def ask(address, words):
    """Runs `curl URL [--json BODY] [-H HEADER]` against this address."""
    url = next(word for word in words[1:] if word.startswith("localhost"))
    options = dict(pairwise(words))
    header = options.get("-H")
    headers = dict([header.split(": ", 1)]) if header else {}
    url = address.rstrip("/") + url.removeprefix("localhost:8000")
    if body := options.get("--json"):
        headers |= {"Content-Type": "application/json"}
    answer = httpx.request("POST" if body else "GET", url, content=body, headers=headers, timeout=30)
    assert answer.status_code == 200, (words, answer.text)
    assert json.loads(answer.text)


def test_what_is_printed_is_found(tmp_path):
    page = tmp_path / "a.md"
    page.write_text(
        "Run `jaxrec train\n--config x` or\n\n```\npip install x && python b.py  # why\ncurl \\\n  y\n```\n\n"
        "```python\nz = 1\n```\n`--port` is a flag, `python` a program.\n"
    )
    assert [(each.line, each.kind, printed.commands(each)) for each in printed.on(page)] == [
        (1, "command", ["jaxrec train --config x"]),
        (5, "command", ["pip install x", "python b.py"]),
        (5, "command", ["curl y"]),
        (11, "python", ["z = 1"]),
    ]
    page.write_text("```rust\nfn\n```\n")
    with pytest.raises(ValueError, match=r"a\.md:2: blocks of 'rust' are not tested"):
        printed.on(page)
