"""Log in to a cluster and out again: the one operator that needs no token."""
