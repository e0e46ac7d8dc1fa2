"""Odd input of every kind, made to order: what tests/data/test_odd.py wants read."""

from odd import files, ids, lists, rows, texts, times

__all__ = ["files", "ids", "lists", "rows", "texts", "times"]
