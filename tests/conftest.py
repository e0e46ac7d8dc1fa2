"""What all tests share: an environment that has to stand before jax is imported, hypothesis, and the real data."""

import gc
import importlib.metadata
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

os.environ["NPROC"] = "16"  # XLA's threads: with fewer than devices, the simulated devices wait for each other for ever
if "PYTEST_XDIST_WORKER" not in os.environ:  # the workers have what their parent set
    _PROGRAMS = tempfile.TemporaryDirectory(prefix="jaxrec-tests-")  # compiled once for all processes
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _PROGRAMS.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["MPLBACKEND"] = "Agg"


def pytest_configure(config):
    """Before jax is imported: 8 simulated devices, and programs compiled in haste, since tests run small ones once.

    The slow run has programs as a training has them in another respect: some of its laws hold bit for bit of these.
    """
    flags = {"--xla_force_host_platform_device_count": 8, "--xla_backend_optimization_level": 0}
    if importlib.metadata.version("jaxlib").startswith("0.10.") and config.option.markexpr == "not slow":
        flags["--xla_cpu_use_fusion_emitters"] = "false"  # a third of the time; later versions may not know it
    given = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = " ".join([given, *(f"{k}={v}" for k, v in flags.items() if k not in given)]).strip()


gc.set_threshold(50_000, 20, 50)  # tracing makes many objects that stay: seldom looking through them saves a tenth

settings.register_profile("jaxrec", deadline=None, derandomize=True, database=None, max_examples=15)
settings.load_profile("jaxrec")


@pytest.fixture(scope="session")
def real_data():
    """`real_data("ml-1m")` is the folder of that real data set; where it is not on this machine the test is skipped."""

    def data_folder(name: str) -> Path:
        roots = [Path(__file__).parents[2] / "shared" / "data"]
        if set_by_hand := os.environ.get("JAXREC_DATA"):
            roots.insert(0, Path(set_by_hand))
        for root in roots:
            if (root / name).is_dir():
                return root / name
        where = " or ".join(map(str, roots))
        pytest.skip(f"real data {name!r} is not in {where}: set JAXREC_DATA to the folder that holds it")

    return data_folder


TRIED = "odd input"  # of a test's properties: (kind, outcome), for the table below


@pytest.fixture
def tabulate(record_property):
    """`tabulate(kind, outcome)` counts an odd or broken file for the table at the end of the report."""
    return lambda kind, outcome: record_property(TRIED, (kind, outcome))


def pytest_terminal_summary(terminalreporter):
    passed = terminalreporter.stats.get("passed", ())
    found = [value for report in passed for name, value in report.user_properties if name == TRIED]
    if not found:
        return
    table = {}
    for kind, outcome in found:
        table.setdefault(kind, []).append(outcome)
    terminalreporter.section(f"odd and broken input: {len(table)} kinds, {len(found)} files, each read or refused")
    for kind, (outcome, *more) in table.items():
        line = outcome if len(outcome) < 150 else outcome[:149] + "…"
        terminalreporter.write_line(f"{kind:<56} {1 + len(more):>3}  {line}")
