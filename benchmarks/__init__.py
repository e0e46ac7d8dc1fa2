"""Measurements: each command writes JSON to results/, from which tables.py makes the tables of the pages."""
