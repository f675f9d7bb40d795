"""What became of each task in whose hands, and how far each round is

Who failed a task before the upgrade is forgotten: a new history begins.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tasks", sa.Column("history", sa.Text(), nullable=False, server_default=sa.text("'{}'")))
    op.add_column("tasks", sa.Column("escalated", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.drop_column("tasks", "lost")
    op.drop_column("tasks", "excluded")
    op.add_column("rounds", sa.Column("shards", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.add_column("rounds", sa.Column("accepted", sa.Integer(), nullable=False, server_default=sa.text("0")))
    shards = (
        "SELECT count(*) FROM tasks WHERE tasks.job = rounds.job AND tasks.round = rounds.number AND kind = 'TRAIN'"
    )
    op.execute(f"UPDATE rounds SET shards = ({shards}), accepted = ({shards} AND tasks.state = 'DONE')")  # noqa: S608  # no input


def downgrade() -> None:
    op.drop_column("rounds", "accepted")
    op.drop_column("rounds", "shards")
    op.add_column("tasks", sa.Column("excluded", sa.Text(), nullable=False, server_default=sa.text("'[]'")))
    op.add_column("tasks", sa.Column("lost", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.drop_column("tasks", "escalated")
    op.drop_column("tasks", "history")
