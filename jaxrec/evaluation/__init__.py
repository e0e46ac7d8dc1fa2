"""How well a model ranks held-out items: protocols, ranks, metrics, baselines."""
