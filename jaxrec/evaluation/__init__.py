"""Evaluation of models on held-out items: protocols, ranks, metrics and baselines."""
