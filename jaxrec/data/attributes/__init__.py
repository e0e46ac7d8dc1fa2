"""What is known of items and users beside the events: attributes, features, vectors, topics."""
