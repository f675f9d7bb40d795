"""Upgrades of a database with rows in it."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

from trainnet.coordinator.storage import migrate

OPEN_ROUND = """
INSERT INTO jobs (id, request_id, request_hash, spec, state, message, merged_rounds, created)
    VALUES ('j', 'r', 'h', '', 'RUNNING', '', 0, 0.0);
INSERT INTO rounds (job, number, state, decision, group_size, metrics, collected, freed, opened)
    VALUES ('j', 1, 'OPEN', '', 3, '{}', 0, 0, 0.0);
INSERT INTO tasks (kind, identity, job, round, shard, architecture, shard_digest, pool, priority, state, ready,
                   failures, lost, excluded, message)
    VALUES ('TRAIN', 't0', 'j', 1, 0, '', '', 'TRUSTED', 10, 'DONE', 0.0, 0, 0, '[]', ''),
           ('TRAIN', 't1', 'j', 1, 1, '', '', 'TRUSTED', 10, 'READY', 0.0, 1, 2, '["ada"]', ''),
           ('TRAIN', 't2', 'j', 1, 2, '', '', 'TRUSTED', 10, 'CHECKING', 0.0, 0, 0, '[]', ''),
           ('CHECK', 'c2', 'j', 1, 2, '', '', 'TRUSTED', 10, 'DONE', 0.0, 0, 0, '[]', '');
"""


def test_an_open_round_is_counted_on_upgrade(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'old.db'}")
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in OPEN_ROUND.split(";")[:-1]:
            connection.execute(text(statement))
        command.upgrade(config, "head")
        assert connection.execute(text("SELECT shards, accepted FROM rounds")).one() == (3, 1)
        assert connection.execute(text("SELECT DISTINCT history, escalated FROM tasks")).one() == ("{}", 0)
        command.downgrade(config, "0001")
    engine.dispose()
