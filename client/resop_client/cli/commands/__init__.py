"""The commands of `resop`, a module for each group of them."""
