"""A site's own operator, as it stands in a folder outside the tree."""
