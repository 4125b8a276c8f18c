"""Answer the JSON API, one module for each group of endpoints."""
