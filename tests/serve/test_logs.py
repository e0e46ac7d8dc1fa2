"""Log lines have time and level, and text from a client or a path never breaks them."""

import io
import json
import logging
import os
import re

import pytest

from jaxrec.serve import logs


@pytest.fixture
def lines():
    """`lines(form, work)` returns what is written while `work(logger)` runs."""

    def run(form, work):
        stream, logger = io.StringIO(), logging.Logger("jaxrec.serve")
        handler = logging.StreamHandler(stream)
        handler.setFormatter({"text": logs.Text, "json": logs.Json}[form]())
        logger.addHandler(handler)
        work(logger)
        return stream.getvalue().splitlines()

    return run


def fail(logger):
    try:
        raise ValueError("it \x1b[31m broke")
    except ValueError:
        logger.exception("a request failed")


TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def test_text(lines):
    (line,) = lines("text", lambda log: log.warning("step %s\nforged \x1b[31m%s", 7, "x" * 10**6))
    assert re.match(rf"{TIME} WARNING jaxrec.serve: step 7 forged \\x1b\[31mxxx", line) and len(line) < 3000
    first, *more = lines("text", fail)
    assert first.endswith("ERROR jaxrec.serve: a request failed") and more[-1] == r"ValueError: it \x1b[31m broke"


def test_lines_of_several_processes_name_theirs():
    record = logging.LogRecord("jaxrec.serve", logging.WARNING, "", 1, "step 7", (), None)
    assert f" WARNING jaxrec.serve[{os.getpid()}]: step 7" in logs.Text(True).format(record)
    assert json.loads(logs.Json(True).format(record))["process"] == os.getpid()


def test_json(lines):
    (line,) = lines("json", lambda log: log.warning("step %s\nforged", 7))
    said = json.loads(line)
    assert re.fullmatch(TIME, said.pop("time"))
    assert said == {"level": "WARNING", "logger": "jaxrec.serve", "message": "step 7\nforged"}
    (line,) = lines("json", fail)
    assert json.loads(line)["traceback"].startswith("Traceback")
