"""The names of the commands, apart from the commands, which take longer to import."""

COMMAND_NAMES = (
    "up",
    "api",
    "worker",
    "check",
    "config",
    "doctor",
    "tables",
    "health",
    "audit",
    "policy",
    "keys",
    "users",
    "new",
    "test",
    "yamlize",
)
"""The same as the entry points of pyproject.toml, by which the client finds them."""
