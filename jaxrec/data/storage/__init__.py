"""Where arrays are kept while a log is processed: in memory, or in files of a folder, memory-mapped."""
