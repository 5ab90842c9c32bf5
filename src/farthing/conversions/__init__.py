"""The open set of conversions: one file per edge between two forms of a model."""
