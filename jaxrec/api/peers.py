"""Checks what the processes of one job must have in common."""

from jaxrec.api.logs import Log
from jaxrec.config import parsing as configs
from jaxrec.config.keys import Config
from jaxrec.data.interactions import fingerprint
from jaxrec.kernels import processes
from jaxrec.system.version import VERSION


def check_same(config: Config, log: Log) -> None:
    """Checks that all processes of the job run the same training.

    Raises:
        UserError: if one has another configuration, data or version; the message names the field.
    """
    if not processes.several():
        return
    keys = {f"config.{key}": str(value) for key, value in configs.flatten(configs.to_dict(config)).items()}
    keys.pop("config.dataset", None)  # the path may differ, as the fingerprint identifies the data
    processes.check_same({"version": VERSION, "data": fingerprint(log.interactions), **keys})
