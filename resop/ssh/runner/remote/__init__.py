"""The program that is sent to the login node and runs there."""
