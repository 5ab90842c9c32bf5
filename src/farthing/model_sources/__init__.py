"""The open set of model sources: where a person's model comes from."""
