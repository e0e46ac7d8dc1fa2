"""Measurements, each a command that writes JSON under results/; tables.py makes the README's tables from them."""
