"""Approximate candidates hold the best items, even if most vectors are nearly zero, as in a large catalogue."""

import numpy as np
import pytest

from jaxrec.inference import candidates

ITEMS, WIDTH, K = 20_000, 16, 20


@pytest.fixture(scope="module")
def catalogue():
    """(vectors, queries): one item in fifty was trained, and queries have a direction in common."""
    random = np.random.default_rng(0)
    trained = random.permutation(ITEMS) < ITEMS // 50
    norms = np.where(trained, random.uniform(0.3, 2, ITEMS), 0.004)
    vectors = random.normal(size=(40, WIDTH))[random.integers(0, 40, ITEMS)] + 0.3 * random.normal(size=(ITEMS, WIDTH))
    vectors *= norms[:, None] / np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = random.normal(size=(50, WIDTH)) + 3 * np.eye(WIDTH)[0]
    return vectors.astype(np.float32), (10 * queries).astype(np.float32)


def recall(found, vectors, queries, bias=0.0):
    """The mean share of each query's best K items that are among its candidates."""
    best = np.argpartition(-(queries @ vectors.T + bias), K, axis=1)[:, :K] + 1
    return np.mean([len(set(a) & set(b)) / K for a, b in zip(best.tolist(), found, strict=True)])


@pytest.mark.parametrize("parts", [None, 64])
def test_the_best_are_among_the_candidates(catalogue, monkeypatch, parts):
    vectors, queries = catalogue
    monkeypatch.setattr(candidates, "LEARN", 4096)
    if parts:
        monkeypatch.setattr(candidates, "MANY", ITEMS)
        monkeypatch.setattr(candidates, "PARTS", parts)
    index = candidates.build(vectors)
    if parts:
        candidates.limit(index, parts // 2)
    found = candidates.search(index, queries, K)
    assert all(len(set(row.tolist())) == len(row) and row.min() > 0 and row.max() <= ITEMS for row in found)
    assert recall(found, vectors, queries) > (0.95 if parts else 0.99)


@pytest.mark.parametrize("many", [ITEMS + 1, ITEMS])
def test_a_bias_counts(catalogue, monkeypatch, many):
    vectors, queries = catalogue
    bias = np.random.default_rng(1).normal(size=ITEMS).astype(np.float32)
    monkeypatch.setattr(candidates, "LEARN", 4096)
    monkeypatch.setattr(candidates, "MANY", many)
    monkeypatch.setattr(candidates, "PARTS", 64)
    index = candidates.build(vectors, bias)
    assert recall(candidates.search(index, queries, K), vectors, queries, bias) > 0.97


def test_more_parts_find_no_fewer_of_the_best(catalogue, monkeypatch):
    vectors, queries = catalogue
    monkeypatch.setattr(candidates, "MANY", ITEMS)
    monkeypatch.setattr(candidates, "PARTS", 64)
    index, found = candidates.build(vectors), []
    for parts in (1, 4, 16, 64):
        candidates.limit(index, parts)
        found.append(recall(candidates.search(index, queries, K), vectors, queries))
    assert found == sorted(found) and found[0] < found[-1]


def test_what_is_retired_or_not_allowed_hides_none_of_the_best(catalogue):
    """However many of the best are removed, the candidates hold the best of the others, or are None."""
    vectors, queries = catalogue
    index, order = candidates.build(vectors), np.argsort(-(queries @ vectors.T), axis=1)
    given = {}
    for gone in (0, 20, 80, 100, 500, 900, 1020):
        offered, given[gone] = np.ones(ITEMS, bool), []
        for row, own in enumerate(order):
            allowed = np.ones((1, ITEMS), bool)
            allowed[0, own[:gone]] = False
            (found,) = candidates.among(index, queries[row : row + 1], K, allowed, offered)
            if found is not None:
                assert allowed[0, found - 1].all()
                given[gone].append(len(np.intersect1d(own[gone : gone + K] + 1, found)) / K)
        assert not given[gone] or np.mean(given[gone]) > 0.97
    assert len(given[0]) == len(queries) and not given[1020]
