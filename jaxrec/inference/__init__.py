"""A trained model as a recommender of external ids."""
