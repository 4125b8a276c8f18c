"""Nodes, partitions, reservations and licenses of the cluster."""
