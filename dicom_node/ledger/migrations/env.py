"""Alembic's entry: run the revisions on the connection that the ledger passes."""

from alembic import context

from dicom_node.ledger.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=False,  # the caller's transaction holds all of it
)
context.run_migrations()
