"""The login node itself: any line of shell, any script, as the logged-in user."""
