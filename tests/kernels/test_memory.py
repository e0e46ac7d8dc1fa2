"""Free memory: of the system, of a container, or unknown."""

import jax
import pytest

from jaxrec.kernels import memory


def test_some_of_this_machine_is_free():
    assert (memory.free(jax.devices()[0]) or 1) > 0


@pytest.mark.parametrize(
    ("limit", "used", "stat", "left"),
    [
        ("1000000", "400000", "anon 1\ninactive_file 100000\n", 700_000),
        ("1000000", "2000000", "", 0),
        ("max", "400000", "", None),
        (None, None, None, None),
    ],
)
def test_a_container_leaves_what_its_limit_does(tmp_path, monkeypatch, limit, used, stat, left):
    names = {"memory.max": limit, "memory.current": used, "memory.stat": stat}
    for name, text in names.items():
        if text is not None:
            (tmp_path / name).write_text(text)
    files = ((tmp_path / "memory.max", tmp_path / "memory.current", "inactive_file"),)
    monkeypatch.setattr(memory, "FILES", files)
    monkeypatch.setattr(memory, "_of_the_system", lambda: None)
    assert memory.free(jax.devices("cpu")[0]) == left


def test_an_accelerator_says_itself():
    class Device:
        platform = "gpu"
        stats: dict | None = None

        def memory_stats(self):
            return self.stats

    device = Device()
    assert memory.free(device) is None
    device.stats = {"bytes_limit": 100, "bytes_in_use": 30}
    assert memory.free(device) == 70
