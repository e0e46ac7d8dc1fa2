"""Log readers, one module per format."""
