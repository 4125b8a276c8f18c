"""Run Alembic's migrations on the connection that `resop.storage.schema_upgrade` has opened."""

from alembic import context

from resop.storage.models import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
