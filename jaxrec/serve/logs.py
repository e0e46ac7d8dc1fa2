"""The service's log: a line per event with time and level, as text or JSON."""

import json
import logging
import time

from jaxrec.system.console import printable


def begin(form: str, is_one_of_several: bool = False) -> None:
    """Logs to standard error.

    Args:
        form: "text" or "json".
        is_one_of_several: whether every line names the process, since others write to the same place.
    """
    handler = logging.StreamHandler()
    handler.setFormatter({"text": Text, "json": Json}[form](is_one_of_several))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    # malformed requests are the client's fault, and are counted
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


class _Formatter(logging.Formatter):
    def __init__(self, names_process: bool = False):
        """`names_process`: whether every line has the id of the process."""
        super().__init__()
        self._names_process = names_process


class Text(_Formatter):
    """`2026-11-26T14:22:46.123Z WARNING jaxrec.serve: step 7 answers now`, followed by a traceback if there is one.

    With the id of the process it is `jaxrec.serve[4711]: `.
    """

    def format(self, record: logging.LogRecord) -> str:
        process = f"[{record.process}]" if self._names_process else ""
        head = f"{_time(record)} {record.levelname} {record.name}{process}: "
        lines = [record.getMessage().replace("\n", " "), *_traceback(self, record)]
        return head + printable("\n".join(lines))


class Json(_Formatter):
    """An object per line: time, level, logger, process if it is named, and message; traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        said = {"time": _time(record), "level": record.levelname, "logger": record.name}
        said |= {"process": record.process} if self._names_process else {}
        said["message"] = printable(record.getMessage())
        if found := _traceback(self, record):
            said["traceback"] = "\n".join(found)
        return json.dumps(said)


def _time(record):
    """Returns the time of a record in UTC, in ISO 8601."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03}Z"


def _traceback(formatter, record):
    return formatter.formatException(record.exc_info).split("\n") if record.exc_info else []
