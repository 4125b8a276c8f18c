"""Run any number of steps over one channel through a program on the login node."""
