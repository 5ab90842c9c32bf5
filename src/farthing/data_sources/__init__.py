"""The open set of data sources: one file each, the contract in base.py."""
