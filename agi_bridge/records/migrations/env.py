"""How Alembic reaches the database: over the connection, and in the transaction, of whoever migrates."""

from alembic import context

from agi_bridge.records.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
