"""Inputs of an exported file, computed by the rules in the JSON beside it, give the answers of the Recommender."""

import datetime
import json
import math
from zoneinfo import ZoneInfo

import jax
import numpy as np
import pytest
import recommenders
from some import some

from jaxrec.batches import context
from jaxrec.data.attributes.user_columns import Column
from jaxrec.inference import export, inputs

COLUMNS = (Column("gender", values=("F", "M")), Column("age", ends=(20.0, 40.0)))
KINDS = ",".join(context.KINDS)
MODELS = [
    ("sasrec", "stablehlo", {"time_bias": True}),
    ("bert4rec", "stablehlo", {}),
    ("gru4rec", "stablehlo", {}),
    ("caser", "stablehlo", {}),
    ("two-tower", "stablehlo", {}),
    ("rg-lru", "stablehlo", {}),
    ("sasrec", "stablehlo", {"time_intervals": 5}),
    ("sasrec", "onnx", {"time_bias": True}),
    ("sasrec", "onnx", {"time_intervals": 5}),
    ("bert4rec", "onnx", {}),
    ("gru4rec", "onnx", {}),
]
START = 1_700_000_000
HISTORIES = [
    # (item, time, weight, type) of each event, now, columns of the user
    ([("i3", START, 2.5, "view")], START + 90_000, {"gender": "F", "age": 33}),
    (
        [
            ("i1", START, 0, "cart"),
            ("i2", None, -3, None),
            ("new", START + 7, 1e9, "view"),
            ("i2", START + 7, 1, "gift"),
        ],
        None,
        {"age": 99},
    ),
    ([(f"i{v}", START + v**7, 0.3 * v, ("cart", "view")[v % 2]) for v in range(15)], START + 15**7, {"gender": "X"}),
]


def file_of(name, format, keys, path):
    """(the program of a file, the JSON beside it, the Recommender)."""
    if format == "onnx":
        pytest.importorskip("jax2onnx")
        pytest.importorskip("onnxruntime")
    rec = recommenders.recommender(
        name, items=30, length=9, context=KINDS, types=("cart", "view"), columns=COLUMNS, **keys
    )
    export.export(rec, format, path / "model", k=5, histories=4)
    run = export.FORMATS[format][1]((path / "model").read_bytes())
    return run, json.loads((path / "model.json").read_text()), rec


def number(kind, events, at, about, now=None):
    """The number of one event of a history by the file's rule, or of an event at the time of the request, `now`."""
    _, time, weight, kept = events[at] if now is None else (None, now, None, None)
    before = events[at - 1] if now is None else events[at]
    if kind == "weight":
        part = min(64 + round(8 * math.log2(max(abs(weight), 2**-8))), 256)
        return 1 if weight == 0 else 2 + part if weight > 0 else 259 + part
    if kind == "type":
        return about["values"].index(kept) + 1 if kept in about["values"] else 0
    if kind == "session":
        return 0  # these queries name no sessions
    if time is None:
        return 0
    clock = datetime.datetime.fromtimestamp(time, ZoneInfo("UTC"))
    if kind == "gap":
        if before[1] is None or (at == 0 and now is None):
            return 0
        return min(math.floor(math.log2(1 + time - before[1])) + 1, 32)
    first = next(each for _, each, *_ in events if each is not None)
    return {"hour": clock.hour + 1, "weekday": clock.isoweekday(), "month": clock.month, "moment": time - first + 1}[
        kind
    ]


def switch(events, at, about, ids):
    topics = [set(about["topics"][ids.index(item)]) for item, *_ in events[max(at - 1, 0) : at + 1]]
    return 0 if at == 0 or not all(topics) else 1 if topics[0] & topics[1] else 2


def of_user(about, said):
    value = said.get(about["name"].removeprefix("user_"))
    if value is None:
        return 0
    if "values" in about:
        return about["values"].index(value) + 1 if value in about["values"] else 0
    return next((place for place, end in enumerate(about["ends"], 1) if end >= value), len(about["ends"]))


def column(about, length, ids):
    """One of the inputs, for all HISTORIES."""
    name = about["name"]
    if name.startswith("user_"):
        return np.array([of_user(about, said) for _, _, said in HISTORIES], np.int32)
    found = np.zeros((len(HISTORIES), length), np.int32)
    plain = name.removeprefix("asked_")
    for row, (events, now, _) in enumerate(HISTORIES):
        events = [event for event in events if event[0] in ids]
        last = len(events) - 1
        if name == "switch":
            values = [switch(events, at, about, ids) for at in range(last + 1)]
        elif plain == name:
            values = [number(name, events, at, about) for at in range(last + 1)]
        else:
            values = [number(plain, events, at + 1, about) for at in range(last)]
            values.append(0 if now is None else number(plain, events, last, about, now))
        found[row, : len(values[-length:])] = values[-length:]
    return found


@pytest.mark.parametrize(("name", "format", "keys"), some(MODELS, ("two-tower", "stablehlo", {})))
def test_a_file_answers_by_its_own_rules_as_the_recommender(name, format, keys, tmp_path):
    run, about, rec = file_of(name, format, keys, tmp_path)
    length, ids = about["length"], about["ids"]
    shown, allowed = np.zeros((len(HISTORIES), length), np.int32), np.ones((len(HISTORIES), len(ids)), bool)
    for row, (events, *_) in enumerate(HISTORIES):
        numbers = [ids.index(item) + 1 for item, *_ in events if item in ids]
        shown[row, : len(numbers[-length:])], allowed[row, np.array(numbers) - 1] = numbers[-length:], False
    rest = [column(each, length, ids) for each in about["inputs"][2:]]
    items, scores = map(np.asarray, run(shown, allowed, *rest))
    names = [each["name"] for each in about["inputs"][2:]]  # a Query always gives the switches of topic
    unsaid = [values if name == "switch" else np.zeros_like(values) for name, values in zip(names, rest, strict=True)]
    bare = np.asarray(run(shown, allowed, *unsaid)[1])
    for row, (events, now, said) in enumerate(HISTORIES):
        history, times, weights, types = map(list, zip(*events, strict=True))
        told = {"times": times, "weights": weights, "types": types, "now": now, "user_columns": said}
        wanted = rec.recommend(history, 5, **told)
        assert [ids[item - 1] for item in items[row]] == [item for item, _ in wanted]
        np.testing.assert_allclose(scores[row], [score for _, score in wanted], atol=1e-5)
        plain = rec.recommend(history, 5)
        np.testing.assert_allclose(bare[row], [score for _, score in plain], atol=1e-5)


def test_inputs_are_put_together_as_they_were_taken_apart():
    """Also with masks: what depends on the request's time is stored at the newest event, and returns to the mask."""
    kinds, random = ("gap", "asked_hour", "type", "user age"), np.random.default_rng(0)
    for masks in (0, 1):
        drawn = [inputs.drawn(kinds, n, masks, ("view",), COLUMNS, random) for n in (1, 4, 6)]
        for own in drawn if masks else ():
            own[:-1, 1], own[-1, [0, 2]] = 0, 0  # only masks get the time of the request, and nothing else
        columns = inputs.columns_of(kinds, drawn, 6, masks)
        items = np.array([[1] * len(own[masks:]) + [0] * (6 + masks - len(own)) for own in drawn])
        found = inputs.assembled(kinds, columns, jax.numpy.asarray(items), masks)
        for row, own in zip(np.asarray(found), drawn, strict=True):
            np.testing.assert_array_equal(row[: len(own)], own)
            assert not row[len(own) :].any()
