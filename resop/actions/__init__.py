"""Define actions: commands, operations, their options, and how they are run."""
