"""The HTTP side: checks who asks, validates what they ask, enqueues, and answers."""
