"""A policy of every strategy, with numbers that differ from the defaults, so that a forgotten one shows."""

from __future__ import annotations

from trainnet.v1 import job_pb2
from trainnet.v1.job_pb2 import MergePolicy

POLICIES = {
    "fedavgm": MergePolicy(strategy=job_pb2.MERGE_STRATEGY_FEDAVGM, server_learning_rate=0.9, server_momentum=0.8),
    "diloco": MergePolicy(strategy=job_pb2.MERGE_STRATEGY_NESTEROV, server_learning_rate=0.7, server_momentum=0.9),
    "fedadam": MergePolicy(
        strategy=job_pb2.MERGE_STRATEGY_FEDADAM, server_learning_rate=0.03, beta1=0.85, beta2=0.95, epsilon=0.01
    ),
    "fedyogi": MergePolicy(
        strategy=job_pb2.MERGE_STRATEGY_FEDYOGI, server_learning_rate=0.03, beta1=0.85, beta2=0.95, epsilon=0.01
    ),
    "fedadagrad": MergePolicy(strategy=job_pb2.MERGE_STRATEGY_FEDADAGRAD, server_learning_rate=0.05, epsilon=0.02),
}
