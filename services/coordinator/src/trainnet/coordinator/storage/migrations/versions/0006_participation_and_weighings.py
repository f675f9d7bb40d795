"""Which shards a round trains and when it is content, backups of late ones, and what rules made of updates"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in _columns():
        op.add_column("rounds", column)
    op.create_index(
        "ix_rounds_due",
        "rounds",
        ["due"],
        sqlite_where=sa.text("due IS NOT NULL"),
        postgresql_where=sa.text("due IS NOT NULL"),
    )
    op.add_column("tasks", sa.Column("backup_of", sa.BigInteger()))
    op.create_table(
        "weighings",
        sa.Column("job", sa.String(63), nullable=False),
        sa.Column("round", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_weighings_job", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", "round", name="pk_weighings"),
    )


def downgrade() -> None:
    op.drop_table("weighings")
    op.drop_column("tasks", "backup_of")
    op.drop_index("ix_rounds_due", "rounds")
    for column in reversed(_columns()):
        op.drop_column("rounds", column.name)


def _columns() -> list[sa.Column[int] | sa.Column[str] | sa.Column[float]]:
    return [
        sa.Column("given_up", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("sampled", sa.Text()),
        sa.Column("quorum", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("deadline", sa.Float()),
        sa.Column("backup_after", sa.Float(), nullable=False, server_default=sa.text("0")),
        sa.Column("due", sa.Float()),
    ]
