"""Shipped for third parties: contract suites per open set, and small real models and decisions to try them on."""
