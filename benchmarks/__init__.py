"""Measurements, each a command that writes JSON under results/; tables.py makes the tables of the pages from them."""
