"""Protect tokens, secrets and logins: encryption, masking, key exchange."""
