"""A site's own step of a creation, and a worker that waits where a test will kill it."""
