"""What stands in a cell: dates, times, numbers, codes and nested values, and how each is spelled."""
