"""Results are named by the device, name no path of its machine, and what measures on a GPU begins only with one."""

import json
import os
import re
import shlex
import subprocess
import sys
from types import SimpleNamespace

import jax
import pytest
from hypothesis import given, strategies as st

from benchmarks import agree, record
from jaxrec.kernels import hardware

RESULTS = sorted(record.RESULTS.glob("*.json"))


@given(st.lists(st.sampled_from(["--runs", "runs/a", "a=b", "3", "https://a.org/b"])), st.sampled_from(["", "--peer="]))
def test_an_absolute_path_is_named_path_and_all_else_is_as_it_was_typed(words, flag):
    command = record.command_of(
        ["/home/ann/benchmarks/bulk.py", *words, f"{flag}/home/ann/env/bin/python", f"{flag}~/x"]
    )
    assert command == " ".join(["python -m benchmarks.bulk", *words, f"{flag}PATH", f"{flag}PATH"])


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_no_result_names_a_place(path):
    assert not re.search(r"(^|[\s=])[/~]\w", json.loads(path.read_text())["command"])


@given(st.text(min_size=1), st.text(min_size=1))
def test_results_of_two_kinds_of_accelerators_have_two_files(one, other):
    assert re.fullmatch(r"[a-z0-9-]*", record.slug(one))
    plain = lambda kind: re.findall(r"[a-z0-9]+", kind.lower())
    assert (record.slug(one) == record.slug(other)) == (plain(one) == plain(other))


@pytest.mark.parametrize(("platform", "name"), [("cpu", "rate.json"), ("gpu", "rate_nvidia-h100-80gb-hbm3.json")])
def test_a_result_is_named_by_its_device_unless_it_is_a_cpu(platform, name, monkeypatch):
    device = SimpleNamespace(platform=platform, device_kind="NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    assert record.place("rate", "json").name == name


@pytest.mark.parametrize("backend", ["gpu", "cpu"])
def test_what_measures_on_a_gpu_begins_with_one_and_says_what_is_missing_without(backend, tmp_path):
    (tmp_path / "jax.py").write_text(f"def default_backend(): return {backend!r}")
    script = record.RESULTS.parent / "gpu.sh"
    (line,) = (line for line in script.read_text().splitlines() if line.startswith("python -c"))
    _, *arguments = shlex.split(line)
    environ = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, *arguments], env=environ, capture_output=True, text=True)
    assert (done.returncode, "pip install" in done.stderr) == ((0, False) if backend == "gpu" else (1, True))


def test_other_devices_are_compared_with_the_form_of_a_cpu(monkeypatch):
    """Though the default backend is another one."""
    seen = []
    monkeypatch.setattr(agree.assembly, "assemble", lambda *_, **__: seen.append(hardware.is_cpu()) or 1 / 0)
    with hardware.assumed(hardware.Hardware("gpu", 60 << 30)), pytest.raises(ZeroDivisionError):
        agree.computed("sasrec_ml1m", "float32", jax.devices("cpu")[0], 1)
    assert seen == [True]
