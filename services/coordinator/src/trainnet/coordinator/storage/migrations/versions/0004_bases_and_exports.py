"""What jobs start from and what their models consist of, evaluations of bases, and the folders that are exported

Jobs from before the upgrade start from scratch, and their models are served as they were.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("base_job", sa.String(63)))
    op.add_column("jobs", sa.Column("base_round", sa.Integer()))
    op.create_index("ix_jobs_base_job", "jobs", ["base_job"])
    for column in (*_artifact("bundle"), *_artifact("frozen")):
        op.add_column("jobs", column)
    op.add_column("jobs", sa.Column("trainable_parameters", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("parameters", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("base_revision", sa.String(200), nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("initial_metrics", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("jobs", sa.Column("exported", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("rounds", sa.Column("confusion", sa.LargeBinary()))
    op.create_table(
        "model_files",
        sa.Column("job", sa.String(63), nullable=False),
        sa.Column("path", sa.String(63), nullable=False),
        *_artifact("object"),
        sa.PrimaryKeyConstraint("job", "path", name="pk_model_files"),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_model_files_job", ondelete="CASCADE"),
    )


def downgrade() -> None:
    op.drop_table("model_files")
    op.drop_column("rounds", "confusion")
    for name in ("exported", "initial_metrics", "base_revision", "parameters", "trainable_parameters"):
        op.drop_column("jobs", name)
    for column in (*_artifact("frozen"), *_artifact("bundle")):
        op.drop_column("jobs", column.name)
    op.drop_index("ix_jobs_base_job", "jobs")
    op.drop_column("jobs", "base_round")
    op.drop_column("jobs", "base_job")


def _artifact(prefix: str) -> list[sa.Column[str] | sa.Column[int]]:
    return [
        sa.Column(f"{prefix}_key", sa.Text()),
        sa.Column(f"{prefix}_digest", sa.String(100)),
        sa.Column(f"{prefix}_size", sa.BigInteger()),
        sa.Column(f"{prefix}_part_size", sa.BigInteger()),
    ]
