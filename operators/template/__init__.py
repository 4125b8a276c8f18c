"""A command and an operation to copy, explained line by line."""
