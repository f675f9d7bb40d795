"""Alembic's entry: the connection comes from `storage.migrate`, or from `-x url=` on the command line."""

from alembic import context
from sqlalchemy import Connection, create_engine

from trainnet.coordinator.storage.schema import metadata


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with create_engine(context.get_x_argument(as_dictionary=True)["url"]).connect() as opened:
        run(opened)
        opened.commit()
