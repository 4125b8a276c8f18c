"""A site's own operator, in a folder outside the source tree."""
