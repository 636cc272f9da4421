"""Alembic's environment: runs the migrations on the connection that ``opening`` hands over."""

from alembic import context

from lapel_gateway.ledger.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=False)
context.run_migrations()
