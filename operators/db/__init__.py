"""A web portal's database, in PostgreSQL or MariaDB: manage its users, and query it."""
