"""Where arrays lie while a log is worked on: in memory, or mapped from files of a folder."""
