"""Create tasks and batches, wait for them, and follow their events."""
