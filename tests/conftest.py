"""What all tests share: the environment to set before jax is imported, hypothesis profiles, and the real data."""

import base64
import contextlib
import gc
import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from hypothesis import settings

os.environ["NPROC"] = "16"  # with fewer XLA threads than simulated devices, the devices wait for each other for ever
if "PYTEST_XDIST_WORKER" not in os.environ:  # the workers inherit this from their parent
    _PROGRAMS = tempfile.TemporaryDirectory(prefix="jaxrec-tests-")  # all processes share what is compiled
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _PROGRAMS.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["MPLBACKEND"] = "Agg"


def pytest_configure(config):
    """Asks for 8 simulated devices and quick compilation before jax is imported, as tests run small programs once.

    The slow run leaves fusion and code generation as in a training, as some of its laws hold bit for bit for these.
    """
    flags = {"--xla_force_host_platform_device_count": 8, "--xla_backend_optimization_level": 0}
    if importlib.metadata.version("jaxlib").startswith("0.10.") and config.option.markexpr == "not slow":
        # these take a third of the time, and compile a program in one piece; later versions may not know them
        flags |= {"--xla_cpu_use_fusion_emitters": "false", "--xla_cpu_parallel_codegen_split_count": 1}
    given = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = " ".join([given, *(f"{k}={v}" for k, v in flags.items() if k not in given)]).strip()
    settings.load_profile("quick" if config.option.markexpr == "not slow" else "thorough")


def pytest_xdist_auto_num_workers():
    """Returns one more than the number of cores, as some tests wait for processes that they start, or for the disk."""
    return (os.cpu_count() or 1) + 1


gc.set_threshold(50_000, 20, 50)  # tracing makes many objects that stay: collecting seldom saves a tenth of the time

settings.register_profile("quick", deadline=None, derandomize=True, database=None, max_examples=10)
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=30)


@pytest.fixture(scope="session")
def real_data():
    """`real_data("ml-1m")` is the folder of that real data set; if it is not on this machine, the test is skipped."""

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


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty object store in memory, with a cache of its own."""
    import fsspec

    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path / "cache"))
    found = fsspec.filesystem("memory")
    found.store.clear()
    found.pseudo_dirs[:] = [""]
    return found


@contextlib.contextmanager
def served(command, environment, url, monkeypatch, path):
    """Runs a local service during a test, with the environment variables that its clients read."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JAXREC_CACHE", str(path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(100):
                try:
                    urllib.request.urlopen(url, timeout=5)
                    break
                except urllib.error.HTTPError:
                    break  # it answers
                except OSError:
                    time.sleep(0.2)
            yield
        finally:
            process.terminate()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def s3(tmp_path, monkeypatch):
    """The address of a bucket in a local service that speaks the S3 protocol."""
    s3fs = pytest.importorskip("s3fs", reason="no s3fs: pip install 'jaxrec[stores]'")
    s3fs.S3FileSystem.clear_instance_cache()  # cached ones know the service of another test
    pytest.importorskip("moto.server", reason="no moto: pip install 'moto[server,s3]'")
    url = f"http://127.0.0.1:{(port := free_port())}"
    environment = {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    environment |= {"AWS_DEFAULT_REGION": "us-east-1"}
    made = urllib.request.Request(f"{url}/bucket", method="PUT")
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    with served(command, environment, made, monkeypatch, tmp_path):
        yield "s3://bucket"


@pytest.fixture
def gs(tmp_path, monkeypatch):
    """The address of a bucket in a local emulator of Google Cloud Storage."""
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # else it asks over gRPC what kind a bucket is
    gcsfs = pytest.importorskip("gcsfs", reason="no gcsfs: pip install 'jaxrec[stores]'")
    import fsspec

    gcsfs.GCSFileSystem.clear_instance_cache()
    pytest.importorskip("gcp_storage_emulator", reason="no gcp-storage-emulator: pip install gcp-storage-emulator")
    url, anonymous = f"http://127.0.0.1:{(port := free_port())}", {"token": "anon"}
    monkeypatch.setitem(fsspec.config.conf, "gs", anonymous)  # in this process; FSSPEC_GS does so in others
    environment = {"STORAGE_EMULATOR_HOST": url, "FSSPEC_GS": json.dumps(anonymous)}
    program = Path(__file__).with_name("gs_server.py")
    command = [sys.executable, program, "start", "--host", "127.0.0.1", "--port", str(port)]
    with served([*command, "--in-memory", "--default-bucket", "bucket"], environment, url, monkeypatch, tmp_path):
        yield "gs://bucket"


@pytest.fixture
def az(tmp_path, monkeypatch):
    """The address of a container in a local emulator of Azure Blob Storage."""
    adlfs = pytest.importorskip("adlfs", reason="no adlfs: pip install adlfs")
    if not (program := shutil.which("azurite-blob")):
        pytest.skip("no azurite-blob on the path: npm install azurite")
    adlfs.AzureBlobFileSystem.clear_instance_cache()
    url, name = f"http://127.0.0.1:{(port := free_port())}", "tests"
    key = base64.b64encode(b"of the tests").decode()
    account = f"DefaultEndpointsProtocol=http;AccountName={name};AccountKey={key};BlobEndpoint={url}/{name};"
    environment = {"AZURE_STORAGE_CONNECTION_STRING": account, "AZURITE_ACCOUNTS": f"{name}:{key}"}
    command = [program, "--inMemoryPersistence", "--blobPort", str(port), "--skipApiVersionCheck"]
    with served(command, environment, url, monkeypatch, tmp_path):
        adlfs.AzureBlobFileSystem(connection_string=account).mkdir("bucket")
        yield "az://bucket"


TRIED = "odd input"  # the test property that holds a (kind, outcome), for the table below


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
