"""How data sets are read, plans by what they follow from, uploaded models

Plans from before the upgrade serve the jobs that have them and no others: new jobs cut theirs anew.
"""

import sqlalchemy as sa
from alembic import op

from trainnet.v1 import dataset_pb2

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_READINGS = ("reading", "declared_reading")


def upgrade() -> None:
    for name in (*_READINGS, "profile"):
        op.add_column("datasets", sa.Column(name, sa.LargeBinary()))
    op.add_column("datasets", sa.Column("deleting", sa.Boolean(), nullable=False, server_default=sa.false()))
    _keep_labels()
    op.drop_column("datasets", "label_column")

    op.add_column("plans", sa.Column("identity", sa.String(64)))
    op.create_index("ix_plans_identity", "plans", ["identity"], unique=True)
    op.add_column("plans", sa.Column("schema", sa.LargeBinary()))
    op.execute("UPDATE plans SET schema = (SELECT datasets.schema FROM datasets WHERE datasets.id = plans.dataset)")
    for column in _artifact("sample"):
        op.add_column("plans", column)

    op.create_table(
        "models",
        sa.Column("id", sa.String(63), nullable=False),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.Column("display_name", sa.String(200), nullable=False),
        sa.Column("format", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        *_artifact("source"),
        sa.Column("declaration", sa.LargeBinary(), nullable=False),
        sa.Column("upload_id", sa.Text()),
        sa.Column("created", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
        sa.UniqueConstraint("request_id", name="uq_models_request_id"),
    )
    op.create_index("ix_models_created", "models", ["created"])
    op.add_column("jobs", sa.Column("base_model", sa.String(63)))
    op.create_index("ix_jobs_base_model", "jobs", ["base_model"])


def downgrade() -> None:
    op.drop_index("ix_jobs_base_model", "jobs")
    op.drop_column("jobs", "base_model")
    op.drop_table("models")
    for column in _artifact("sample"):
        op.drop_column("plans", column.name)
    op.drop_column("plans", "schema")
    op.drop_index("ix_plans_identity", "plans")
    op.drop_column("plans", "identity")
    op.add_column("datasets", sa.Column("label_column", sa.String(200), nullable=False, server_default=""))
    table = sa.table("datasets", sa.column("id"), sa.column("label_column"), sa.column("reading"))
    found = op.get_bind().execute(sa.select(table.c.id, table.c.reading).where(table.c.reading.is_not(None)))
    for row in found.all():
        label = dataset_pb2.DatasetReading.FromString(row.reading).label_column
        op.execute(table.update().where(table.c.id == row.id).values(label_column=label))
    for name in ("deleting", "profile", *_READINGS):
        op.drop_column("datasets", name)


def _artifact(prefix: str) -> list[sa.Column[str] | sa.Column[int]]:
    return [
        sa.Column(f"{prefix}_key", sa.Text()),
        sa.Column(f"{prefix}_digest", sa.String(100)),
        sa.Column(f"{prefix}_size", sa.BigInteger()),
        sa.Column(f"{prefix}_part_size", sa.BigInteger()),
    ]


def _keep_labels() -> None:
    """Labels that owners asked for become readings."""
    table = sa.table("datasets", sa.column("id"), sa.column("label_column"), *(sa.column(name) for name in _READINGS))
    found = op.get_bind().execute(sa.select(table.c.id, table.c.label_column).where(table.c.label_column != ""))
    for row in found.all():
        reading = dataset_pb2.DatasetReading(label_column=row.label_column).SerializeToString()
        op.execute(table.update().where(table.c.id == row.id).values(dict.fromkeys(_READINGS, reading)))
