"""The values of cells: dates, times, numbers, codes and nested values, and their spellings."""
