"""Runs the revisions on the connection that `backend.db.migrate` hands over; there is no other way in."""

from __future__ import annotations

from alembic import context

from backend.db.migrate import CONNECTION, context_options

connection = context.config.attributes[CONNECTION]
context.configure(connection=connection, **context_options())
with context.begin_transaction():
    context.run_migrations()
