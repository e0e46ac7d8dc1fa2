"""The metrics of several processes are one text, including the counts of processes that have ended."""

import json
import os
import subprocess
import sys

from prometheus_client.multiprocess import mark_process_dead
from prometheus_client.parser import text_string_to_metric_families

from jaxrec.serve.metrics import Metrics

COUNT = """
import json, os, sys
from jaxrec.serve.metrics import Metrics

metrics = Metrics(sys.argv[1])
metrics.requests.labels("/recommend", 200).inc(int(sys.argv[2]))
metrics.seconds.labels("/recommend").observe(0.004)
metrics.connections.set(3)
metrics.step.set(int(sys.argv[2]))
print(json.dumps([os.getpid(), metrics.text().decode()]), flush=True)
sys.stdin.read()
"""


def counting(folder, count):
    """Starts a process that counts; returns (the process, its id, the metrics of all processes as text)."""
    command = [sys.executable, "-c", COUNT, str(folder), str(count)]
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env=environment, **pipes)
    return process, *json.loads(process.stdout.readline())


def values(text):
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


def test_they_are_summed_and_none_is_lost_with_its_process(tmp_path):
    first, pid, _ = counting(tmp_path, 2)
    second, _, text = counting(tmp_path, 5)
    found = values(text)
    assert found["jaxrec_requests_total", "/recommend", "200"] == 7
    assert found["jaxrec_request_seconds_count", "/recommend"] == 2
    assert found["jaxrec_request_seconds_bucket", "0.005", "/recommend"] == 2
    assert found["jaxrec_connections",] == 6 and found["jaxrec_checkpoint_step",] == 2  # the lowest step
    assert "Requests answered" in text
    first.kill()
    first.wait()
    mark_process_dead(pid, tmp_path)
    third, _, text = counting(tmp_path, 1)
    found = values(text)
    assert found["jaxrec_requests_total", "/recommend", "200"] == 8 and found["jaxrec_connections",] == 6
    for each in (second, third):
        each.communicate("")


def test_those_of_one_process_have_the_same_names(tmp_path):
    alone = Metrics()
    alone.requests.labels("/recommend", 200).inc(5)
    alone.seconds.labels("/recommend").observe(0.004)
    process, _, text = counting(tmp_path, 5)
    process.communicate("")
    names = lambda text: {name for name, *_ in values(text) if not name.endswith("_created")}
    assert names(alone.text().decode()) == names(text)


def test_paths_that_are_none_of_the_services_are_one_in_the_metrics(ask):
    """A client that requests many paths does not fill the memory with their counts."""

    async def work(client, service):
        for path in ("/a", "/b", "/healthz"):
            await client.get(path)
        return (await client.get("/metrics")).text

    text = ask(work)
    assert 'jaxrec_requests_total{path="other",status="404"} 2.0' in text and 'path="/healthz"' in text
    assert '"/a"' not in text
