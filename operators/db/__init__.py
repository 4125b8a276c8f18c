"""The database of a web portal, in PostgreSQL or MariaDB: its users, and questions to it."""
