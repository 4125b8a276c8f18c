"""Log in to a cluster and log out; logging in needs no token."""
