"""The open set of caches: where answers are kept, bytes by key."""
