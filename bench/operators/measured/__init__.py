"""What the measurements run."""
