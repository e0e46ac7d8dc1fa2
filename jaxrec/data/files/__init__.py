"""Raw files: downloaded, listed, opened and unpacked, and their text read line by line."""
