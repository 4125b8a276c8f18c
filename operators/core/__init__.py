"""The login node: run shell commands and scripts, copy and transfer files, as the user."""
