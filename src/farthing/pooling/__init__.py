"""pool(): replicas as processes that one supervisor starts, feeds, drains and restarts."""

from farthing.pooling.pool import BatchFailed, Pool, Replica, ReplicaAway, ReplicaLost, Settings, pool

__all__ = ["BatchFailed", "Pool", "Replica", "ReplicaAway", "ReplicaLost", "Settings", "pool"]
