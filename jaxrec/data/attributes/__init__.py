"""What is known about items and users besides their events: attributes, features, vectors, topics."""
