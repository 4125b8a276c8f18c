"""Jobs in the queue: read, selected, changed, and how they ended."""
