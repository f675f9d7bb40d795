"""Upgrades of a database with rows in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, text

from trainnet.coordinator.storage import migrate
from trainnet.v1 import dataset_pb2

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


@contextmanager
def upgraded(path: Path, revision: str, rows: str) -> Iterator[tuple[Connection, Config]]:
    """A database of an old revision with rows in it, upgraded to the newest."""
    engine = create_engine(f"sqlite:///{path / 'old.db'}")
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        for statement in rows.split(";")[:-1]:
            connection.execute(text(statement))
        command.upgrade(config, "head")
        yield connection, config
    engine.dispose()


def test_an_open_round_is_counted_on_upgrade(tmp_path: Path) -> None:
    with upgraded(tmp_path, "0001", OPEN_ROUND) as (connection, config):
        assert connection.execute(text("SELECT shards, accepted FROM rounds")).one() == (3, 1)
        assert connection.execute(text("SELECT DISTINCT history, escalated FROM tasks")).one() == ("{}", 0)
        command.downgrade(config, "0001")


DATA_SETS = """
INSERT INTO datasets (id, request_id, display_name, format, label_column, state, message, declaration, schema, created)
    VALUES ('d', 'r1', 'd', 'CSV', 'class', 'READY', '', '', x'0801', 0.0),
           ('e', 'r2', 'e', 'CSV', '', 'READY', '', '', x'0802', 0.0);
INSERT INTO plans (id, dataset, spec, state, message) VALUES ('p', 'd', '', 'PREPARING', '');
"""


def test_labels_become_readings_and_plans_keep_their_schema(tmp_path: Path) -> None:
    with upgraded(tmp_path, "0002", DATA_SETS) as (connection, config):
        rows = connection.execute(text("SELECT reading, declared_reading, deleting FROM datasets ORDER BY id")).all()
        read = dataset_pb2.DatasetReading(label_column="class").SerializeToString()
        assert [tuple(row) for row in rows] == [(read, read, 0), (None, None, 0)]
        assert connection.execute(text("SELECT identity, schema FROM plans")).one() == (None, b"\x08\x01")
        command.downgrade(config, "0002")
        labels = connection.execute(text("SELECT label_column FROM datasets ORDER BY id")).all()
        assert [tuple(row) for row in labels] == [("class",), ("",)]
