"""Local accounts and groups of the login node, for an administrator who may use sudo there."""
