"""pool(): replicas as processes that one supervisor starts, feeds, drains and restarts."""

from farthing.pooling.pool import Pool, Settings, pool
from farthing.pooling.supervised import BatchFailed, Replica, ReplicaAway, ReplicaLost

__all__ = ["BatchFailed", "Pool", "Replica", "ReplicaAway", "ReplicaLost", "Settings", "pool"]
