"""Files as they come: opened, unpacked, walked and downloaded, and their text line by line."""
