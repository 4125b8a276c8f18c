"""The `resop` command line, and the demo login node."""
