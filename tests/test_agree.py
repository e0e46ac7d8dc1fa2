"""The reference of benchmarks/agree.py is traced for a CPU, whatever the default device is."""

import jax
import numpy as np

from benchmarks import agree
from jaxrec.kernels import hardware
from jaxrec.kernels.hardware import Hardware, assumed


def test_the_reference_is_traced_for_a_cpu(monkeypatch):
    seen, load = set(), agree.assembly.assemble
    monkeypatch.setattr(
        agree, "DATA", {"dataset": "synthetic:users=60,items=100", "length": "8", "row": "8", "batch": "16"}
    )

    def assemble(*args, **named):
        seen.add(hardware.current().platform)
        return load(*args, **named)

    monkeypatch.setattr(agree.assembly, "assemble", assemble)
    device = jax.local_devices(backend="cpu")[0]
    plain = agree.computed("sasrec_ml1m", "float32", device, 2)
    with assumed(Hardware("gpu", 60 << 30)):
        reference = agree.computed("sasrec_ml1m", "float32", device, 2)
    assert seen == {"cpu"}
    for found, wanted in zip(reference, plain, strict=True):
        np.testing.assert_array_equal(found, wanted)
