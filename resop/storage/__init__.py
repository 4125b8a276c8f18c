"""Read and write the database: tasks, batches, credentials, the audit log."""
