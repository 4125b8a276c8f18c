"""Hold what one API process shares between its requests."""
