"""Measurements, each a command that writes JSON under results/; table.py makes the README's tables from them."""
