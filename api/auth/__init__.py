"""Log users in and out, and check the token of each request."""
