"""The commands a person types, and the demo login node they can start."""
