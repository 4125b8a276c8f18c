"""The shipped operators: each folder here is one."""
