"""Decide which session a login gets, and what its user may do."""
