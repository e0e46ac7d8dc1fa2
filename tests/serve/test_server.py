"""The command itself: it starts, watches, stops when told to, and keeps to its OpenAPI schema."""

import concurrent.futures
import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import jax
import pytest

from jaxrec import cli
from jaxrec.serve.database import Database

from .conftest import ITEMS, make_workdir, save, until


@pytest.mark.slow
def test_it_withstands_silent_clients_and_an_events_file_that_is_taken_away(serve, path, tmp_path):
    file, moved = tmp_path / "e.db", tmp_path / "elsewhere.db"
    limits = "--limit", "transfer=2", "--limit", "connections=20"
    served = serve("--workdir", path, "--events", file, "--watch", "--log", "json", *limits)
    post = lambda: served.post("/events", user="u", item=1)
    health = lambda: served.client.get("/healthz")
    assert post().json() == {"stored": 1} and health().json()["watch"]["looked"] < 30
    file.rename(moved)
    answer = post()
    assert answer.status_code == 503 and "moved or deleted" in answer.json()["errors"][0]["message"]
    assert health().status_code == 503 and str(tmp_path) not in health().text
    assert served.post("/recommend", user="u").status_code == 503
    assert served.post("/recommend", history=[1]).status_code == 200
    moved.rename(file)
    until(lambda: health().status_code == 200, 20)
    assert post().json() == {"stored": 1} and served.post("/recommend", user="u").json()["fallback"] is False

    host, port = served.address.removeprefix("http://").split(":")
    ask = lambda: httpx.get(f"{served.address}/readyz")
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(200)]
        for each in silent[::2]:
            each.sendall(b"GET / HTTP/1.1\r\nx: y\r\n")
        refused = ask()
        assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
        until(lambda: ask().status_code == 200, 10)
        begun = time.monotonic()
        assert all(select.select([each], [], [], 20)[0] for each in silent) and time.monotonic() < begun + 15
    _, said = served.stop()
    levels = [json.loads(line)["level"] for line in said.splitlines()]
    assert levels[0] == "ERROR" and levels[-1] == "WARNING" and len(levels) < 5


def test_it_finishes_what_is_under_way_and_keeps_events(serve, path, tmp_path):
    served = serve("--workdir", path, "--events", tmp_path / "e.db")
    assert "step 1, 40 items" in served.said[-1] and served.address.startswith("http://127.0.0.1:")
    post = lambda n: served.post("/recommend", histories=[[1 + n % 40]] * 64).status_code
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert served.post("/events", user="u", items=[1, 2]).json() == {"stored": 2}
        asked = [pool.submit(post, n) for n in range(4)]
        until(lambda: served.client.get("/metrics").text.count("/recommend"), 20)
        status, said = served.stop()
        answered = [future.result() for future in asked if not future.exception()]
    assert status == 0 and "Traceback" not in said
    assert answered and set(answered) == {200}
    kept = Database(tmp_path / "e.db", create=False)
    assert [json.loads(item) for item, *_ in kept.newest("u", 9)] == [2, 1]
    kept.close()


def test_new_checkpoints_are_taken_and_bad_ones_refused(serve, tmp_path):
    path, state = make_workdir(tmp_path / "run")
    served = serve("--workdir", path, "--watch", "--checkpoint", "latest")
    step = lambda: served.client.get("/readyz").json()["step"]
    before = served.post("/recommend", history=[1, 2]).json()
    assert before["step"] == 1
    save(path, 2, state._replace(params=jax.tree.map(lambda x: -x, state.params)))
    until(lambda: step() == 2)
    assert served.post("/recommend", history=[1, 2]).json()["items"] != before["items"]

    refused = lambda: re.search(r"checkpoints_refused_total (\d)", served.client.get("/metrics").text)[1]
    already = refused()
    save(path, 3, state._replace(params=jax.tree.map(lambda x: x * float("nan"), state.params)))
    (path / "checkpoints" / "4").mkdir()
    until(lambda: refused() != already)
    assert step() == 2 and served.post("/recommend", history=[1, 2]).status_code == 200

    shutil.rmtree(path / "checkpoints" / "4")
    save(path, 5, state)
    until(lambda: step() == 5)
    assert served.post("/recommend", history=[1, 2]).json() == before | {"step": 5}
    status, said = served.stop(signal.SIGINT)
    assert status == 0 and "is refused, step 2 keeps answering" in said and "step 5 answers now" in said, said


@pytest.mark.slow
def test_a_link_to_another_training_brings_its_catalogue_and_no_request_fails(serve, tmp_path):
    make_workdir(tmp_path / "old")
    make_workdir(tmp_path / "new", items=ITEMS + 10)
    link = tmp_path / "current"
    link.symlink_to("old")
    served = serve("--workdir", link, "--watch", "--limit", "batch=2")
    newest, answered, stop = ITEMS + 10, [], threading.Event()

    def ask():
        while not stop.is_set():
            answered.append(served.post("/recommend", history=[1, newest]).status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    (tmp_path / "next").symlink_to("new")
    os.replace(tmp_path / "next", link)
    until(lambda: served.client.get("/readyz").json()["items"] == newest)
    found = served.post("/recommend", history=[1, newest], k=newest).json()
    stop.set()
    asking.join()
    assert set(answered) == {200} and not found["unknown"]
    assert {item["id"] for item in found["items"]} == set(range(2, newest))
    assert served.post("/titles", items=[newest]).json()["items"] == [{"id": newest, "title": f"Film {newest}"}]
    assert f"step 1 answers now, with {newest} items" in served.stop()[1]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--limit", "histry=3"], "no limit 'histry'"),
        (["--watch", "--checkpoint", "1"], "--watch needs --checkpoint best or latest, not 1"),
        (["--checkpoint", "9"], "has no checkpoint '9'"),
        (["--host", "203.0.113.1"], "can't listen on"),
        (["--events", "/nowhere/e.db"], "can't be used for events"),
        (["--port", "80000"], "--port 80000: a port is a number from 0 to 65535"),
        (["--port", "-1"], "--port -1: a port is a number from 0 to 65535"),
        (["--host", "a..b"], "can't listen on"),
        (["--host", "x" * 100], "can't listen on"),
        (["--limit", "connections=2000000000"], "raise that by ulimit -n"),
    ],
)
def test_a_mistake_is_a_message(path, more, said, capsys):
    assert cli.main(["serve", "--workdir", str(path), "--port", "0", *more]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("token", ["s3cret\n", " s3cret", "s3\x1bcret"])
def test_a_token_that_nobody_can_send_is_refused(path, token, monkeypatch, capsys):
    monkeypatch.setenv("JAXREC_TOKEN", token)
    assert cli.main(["serve", "--workdir", str(path)]) == 2
    said = capsys.readouterr().err
    assert "JAXREC_TOKEN begins or ends with blanks" in said and "cret" not in said


def test_a_taken_port_is_a_message(path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert cli.main(["serve", "--workdir", str(path), "--port", port]) == 2
    assert "name another --host or --port" in capsys.readouterr().err


#: statuses that are right though schemathesis expects others: a schema can't say that lists have the same length, that
#: one field needs another, or how many bytes a body may have
EXPECTED = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 404, 413, 422]
[checks.negative_data_rejection]
expected-statuses = [400, 401, 404, 405, 413, 415, 422]
"""


@pytest.mark.slow
@pytest.mark.parametrize("token", [None, "s3cret"])
def test_its_schema_holds(serve, path, tmp_path, token):
    """schemathesis finds no failure by any of its checks, in thousands of requests."""
    pytest.importorskip("schemathesis")
    served = serve("--workdir", path, "--events", tmp_path / "e.db", **({"JAXREC_TOKEN": token} if token else {}))
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        str(tmp_path / "schemathesis.toml"),
        "run",
        f"{served.address}/openapi.json",
        "--max-examples",
        "500",
    ]
    (tmp_path / "schemathesis.toml").write_text(EXPECTED)
    command += ["--generation-database", "none", "--header", f"Authorization: Bearer {token}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    assert served.client.get("/healthz").status_code == 200


def refused(operation, mode, checks):
    """Sends the requests that schemathesis generates, checks the answers, and counts the wrong bodies refused."""
    from hypothesis import HealthCheck, Phase, given, settings

    wrong, count = mode.is_negative and bool(operation.body), 0  # a query may hold any text
    most = 2600 if wrong else 600

    @settings(
        max_examples=most, phases=[Phase.generate], deadline=None, database=None, suppress_health_check=HealthCheck
    )
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case):
        nonlocal count
        answer = case.call_and_validate(checks=checks)
        assert not wrong or 400 <= answer.status_code < 500, case.body
        count += wrong

    ask()
    return count


@pytest.mark.slow
def test_wrong_bodies_are_refused(serve, path, tmp_path):
    """All answers keep to the schema, whatever schemathesis sends; over 10,000 wrong bodies are refused with 4xx."""
    schemathesis = pytest.importorskip("schemathesis")
    from schemathesis.checks import CHECKS

    served = serve("--workdir", path, "--events", tmp_path / "e.db")
    schema = schemathesis.openapi.from_url(f"{served.address}/openapi.json")
    conform = [f"{what}_conformance" for what in ("response_schema", "status_code", "content_type")]
    checks = [CHECKS.get_one(name) for name in ("not_a_server_error", *conform)]
    operations = [result.ok() for result in schema.get_all_operations()]
    asked = [each for each in operations if each.body or each.query]  # the others take nothing that could be wrong
    count = sum(refused(each, mode, checks) for each in asked for mode in schemathesis.GenerationMode)
    assert count > 10_000 and served.client.get("/healthz").status_code == 200
