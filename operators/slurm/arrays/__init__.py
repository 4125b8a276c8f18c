"""The members of sweeps and other arrays, and the record of them."""
