"""The command line of the client: `resop`.

Modules are imported when a command needs them, so that a short command is short.
"""
