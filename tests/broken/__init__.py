"""Broken input of every kind, made to order: what tests/data/test_broken.py wants refused."""

from broken import columns, histories, places, rows, texts

__all__ = ["columns", "histories", "places", "rows", "texts"]
