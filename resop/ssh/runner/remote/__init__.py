"""What is sent to the login node and runs there."""
