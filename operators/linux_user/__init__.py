"""Local accounts and groups on the login node, for administrators with sudo rights there."""
