"""Several processes of a service: they answer as one would, end together, and one that dies is started again."""

import argparse
import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import jax
import pytest

from jaxrec import cli
from jaxrec.commands.flags import COMMANDS
from jaxrec.serve import workers
from jaxrec.serve.workers import Crew, flags_of

from .conftest import ITEMS, JSON, make_workdir, save, until

CHILD = """
import os, signal, sys, time
link, mode = int(sys.argv[1]), sys.argv[2]
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
if mode == "early":
    sys.exit(3)
if mode == "mute":
    os.kill(os.getpid(), signal.SIGKILL)
os.write(link, b"ready %d\\n" % os.getpid())
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(60)
"""


class Tried:
    """A Crew of small processes, what it started, and what it has printed and logged."""

    def __init__(self, modes):
        self.modes, self.processes, self.gone = iter(modes), [], []

    def start(self, link):
        command = [sys.executable, "-SE", "-c", CHILD, str(link.fileno()), next(self.modes)]
        self.processes.append(subprocess.Popen(command, pass_fds=[link.fileno()], process_group=0))
        return self.processes[-1]

    def run(self, count, work=None):
        """Runs the crew with `work()`, if given, in a thread, then stops it by SIGTERM; returns the exit status."""

        def then():
            try:
                work()
            finally:
                os.kill(os.getpid(), signal.SIGTERM)

        if work:
            threading.Thread(target=then, daemon=True).start()
        try:
            return Crew(count, self.start, self.gone.append).run()
        finally:
            assert all(each.poll() is not None for each in self.processes), "a process is left"


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(workers, "PAUSE", 0.05)
    monkeypatch.setattr(workers, "LAST", 0.3)


def test_all_are_ready_before_it_says_so_and_all_end_with_it(capfd):
    tried = Tried(["well"] * 3)
    assert tried.run(3, lambda: until(lambda: "ready" in capfd.readouterr().out, 10)) == 0
    assert len(tried.processes) == 3 and {each.returncode for each in tried.processes} == {0}
    assert set(tried.gone) == {each.pid for each in tried.processes}


@pytest.mark.parametrize(
    ("modes", "status", "said"),
    [(["early"], 3, ""), (["mute"], 1, "was ended by SIGKILL before it was ready"), (["well", "early"], 3, "")],
)
def test_one_that_does_not_start_ends_all_with_its_status(modes, status, said, capfd, caplog):
    tried = Tried(modes)
    assert tried.run(len(modes)) == status
    assert capfd.readouterr().out == "" and said in caplog.text


def test_one_that_dies_is_said_and_started_again(quick, caplog):
    tried = Tried(["well", "well", "early", "well"])

    def work():
        until(lambda: len(tried.processes) == 2, 10)
        time.sleep(0.2)
        tried.processes[0].kill()
        until(lambda: "answers in its place" in caplog.text, 10)

    assert tried.run(2, work) == 0
    assert len(tried.processes) == 4 and tried.processes[1].returncode == 0
    first, second = re.findall(r"process \d+ (.*); another is started in (\S+) s", caplog.text)
    assert first == ("was ended by SIGKILL", "0.05") and second == ("ended with status 3", "0.1")


def test_one_that_does_not_stop_is_killed(quick, caplog, capfd):
    tried = Tried(["stubborn"])
    assert tried.run(1, lambda: until(lambda: "ready" in capfd.readouterr().out, 10)) == 1
    assert "has not stopped" in caplog.text and tried.processes[0].returncode == -signal.SIGKILL


def test_the_flags_of_a_worker_are_those_of_the_command():
    given = ["--workdir", "runs/a b", "--watch", "--limit", "k=5", "--limit", "batch=2", "--port", "0"]
    given += ["--allow-host=-x", "--approximate", "--events", "e.db", "--debug", "--log", "json"]
    parser = argparse.ArgumentParser()
    parser.add_argument("--debug", action="store_true")
    COMMANDS["serve"].flags(parser)
    arguments = parser.parse_args([*given, "--workers", "2"])
    again = parser.parse_args(flags_of(arguments))
    assert vars(again) == vars(arguments) | {"workers": 1}


@pytest.mark.parametrize("count", ["0", "-1", "65"])
def test_a_wrong_number_is_a_message(count, capsys):
    assert cli.main(["serve", "--workdir", "none", "--port", "0", "--workers", count]) == 2
    assert f"--workers {count}: give a number of processes from 1 to 64" in capsys.readouterr().err


class Several:
    """A service of two processes, asked on a new connection each time, so that either may answer."""

    def __init__(self, served):
        self.served, self.asked = served, 0
        children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children")
        self._children, self.processes_were = children, set()

    def processes(self):
        """The ids of the running processes."""
        found = {int(pid) for pid in self._children.read_text().split()}
        self.processes_were |= found
        return found

    def ask(self, method, path, **body):
        self.asked += 1
        content = json.dumps(body) if body else None
        return httpx.request(method, self.served.address + path, content=content, headers=JSON, timeout=20)

    def post(self, path, **body):
        answer = self.ask("POST", path, **body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def everywhere(self, path, times=16, **body):
        """All answers to the same request; both processes answer some of them, except once in 30,000 runs."""
        return [self.post(path, **body) for _ in range(times)]

    def metric(self, name):
        lines = self.ask("GET", "/metrics").text
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", lines, re.MULTILINE))


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes in /proc")


@needs_proc
@pytest.mark.slow
def test_two_processes_answer_as_one(serve, tmp_path):
    path, state = make_workdir(tmp_path / "run")
    flags = "--workdir", path, "--watch", "--checkpoint", "latest", "--events", tmp_path / "e.db"
    served = serve(*flags, "--stock", tmp_path / "s.jsonl", "--workers", "2", "--limit", "batch=2")
    assert "step 1, 40 items, by 2 processes, at http://" in served.said[-1]
    both = Several(served)
    assert len(both.processes()) == 2

    items = lambda answer: [(item["id"], pytest.approx(item["score"], abs=1e-6)) for item in answer["items"]]
    history = [5, 3, 9, 3, 7, 1, 2, 8, 4, 6]
    for count, item in enumerate(history, 1):  # what one stores, the other has at once, in order
        assert both.post("/events", user="u", item=item) == {"stored": 1}
        want = items(both.post("/recommend", history=history[:count]))
        assert all(items(each) == want for each in both.everywhere("/recommend", 6, user="u"))

    for number in range(6):  # the same with items that come and go
        added = {"id": 1000 + number, "like": [3] if number == 0 else [1000 + number - 1, 3]}
        now = both.post("/items", add=[added], retire=[number + 1])
        assert now["items"] == ITEMS
        found = both.everywhere("/recommend", 6, history=[20], k=200)
        ids = {frozenset(item["id"] for item in each["items"]) for each in found}
        assert ids == {frozenset({*range(number + 2, ITEMS + 1), *range(1000, 1001 + number)} - {20})}
        assert all(each["items"] for each in both.everywhere("/similar", 4, item=1000 + number))
    assert len((tmp_path / "s.jsonl").read_text().splitlines()) == 6
    scores = [dict(items(each)) for each in both.everywhere("/recommend", history=[20], k=200)]
    assert all(each == scores[0] for each in scores)

    until(lambda: both.metric("jaxrec_requests_total") == both.asked - 1, 5)  # the last request is not counted yet
    assert both.metric("jaxrec_events_stored_total") == len(history)
    assert both.metric("jaxrec_checkpoint_step") == 1

    save(path, 2, state._replace(params=jax.tree.map(lambda x: -x, state.params)))
    by_step = {}

    def all_have_it():
        found = both.everywhere("/recommend", history=[20], k=5)
        for each in found:
            by_step.setdefault(each["step"], []).append(items(each))
        return {each["step"] for each in found} == {2}

    until(all_have_it)
    assert by_step.keys() <= {1, 2} and all(each == rows[0] for rows in by_step.values() for each in rows)
    assert both.metric("jaxrec_checkpoint_step") == 2 and both.metric("jaxrec_checkpoints_taken_total") == 2
    status, said = served.stop()
    assert status == 0 and "Traceback" not in said and not any(alive(pid) for pid in both.processes_were)


@needs_proc
@pytest.mark.slow
def test_one_that_is_killed_is_replaced_while_the_other_answers(serve, path, tmp_path):
    served = serve("--workdir", path, "--events", tmp_path / "e.db", "--workers", "2")
    both = Several(served)
    assert len(both.everywhere("/events", 20, user="u", item=1)) == 20
    before = both.processes()
    os.kill(min(before), signal.SIGKILL)
    until(lambda: min(before) not in both.processes(), 10)
    assert len(both.everywhere("/events", 20, user="u", item=2)) == 20  # the other process answers alone
    assert both.metric("jaxrec_events_stored_total") == 40  # the counts of the first are kept
    until(lambda: len(both.processes()) == 2)
    until(lambda: both.metric("jaxrec_checkpoint_step") == 1)
    os.kill(served.process.pid, signal.SIGKILL)  # no worker outlives the process that started it
    until(lambda: not any(map(alive, before | both.processes_were)), 30)


def alive(pid):
    """Whether a process runs, and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


@needs_proc
@pytest.mark.slow
def test_all_complete_their_requests(serve, path, tmp_path):
    served = serve("--workdir", path, "--workers", "2", "--limit", "queue=4096", "--limit", "deadline=30")
    both = Several(served)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(both.ask, "POST", "/recommend", histories=[[1 + n % 40]] * 64) for n in range(40)]
        until(lambda: sum(each.done() for each in asked) > 4, 20)
        status, said = served.stop()
        answered = [each.result().status_code for each in asked if not each.exception()]
    assert status == 0 and "Traceback" not in said
    assert len(answered) > 4 and set(answered) == {200}
    lost = [each.exception() for each in asked if each.exception()]  # requests that no process had read yet
    assert all(isinstance(each, httpx.TransportError) for each in lost)


@pytest.mark.slow
def test_two_services_do_not_share_a_port_nor_a_catalogue(serve, path, tmp_path):
    served = serve("--workdir", path, "--workers", "2", "--stock", tmp_path / "s.jsonl")
    port = served.address.rpartition(":")[2]
    for more, said in [
        (["--port", port, "--workers", "2"], "name another --host or --port"),
        (["--port", port], "name another --host or --port"),
        (["--port", "0", "--workers", "2", "--stock", tmp_path / "s.jsonl"], "name another with --stock"),
        (["--port", "0", "--workers", "2", "--checkpoint", "9"], "has no checkpoint '9'"),
    ]:
        command = [sys.executable, "-m", "jaxrec", "serve", "--workdir", path, *more]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and done.stderr.count(said) == 1, done.stderr
