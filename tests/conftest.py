"""What all tests share: an environment that has to stand before jax is imported, hypothesis, and the real data."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

_DEVICES = "--xla_force_host_platform_device_count"
if _DEVICES not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_DEVICES}=8".strip()
os.environ["NPROC"] = "16"  # XLA's threads: with fewer than devices, the simulated devices wait for each other for ever
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["MPLBACKEND"] = "Agg"

settings.register_profile("jaxrec", deadline=None, derandomize=True, database=None, max_examples=25)
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
