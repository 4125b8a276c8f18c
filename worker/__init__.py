"""The worker: takes task ids from the queue and runs them over the users' SSH sessions."""
