"""Use of the cluster over time."""
