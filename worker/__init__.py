"""The worker: takes task IDs from the queue and runs the tasks over their users' sessions."""
