"""Connect to a cluster over SSH and run steps there."""
