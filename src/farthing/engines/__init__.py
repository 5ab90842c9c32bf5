"""Open set: what carries an artifact's replicas, on one machine or on many."""
