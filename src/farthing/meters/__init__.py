"""The open set of meters: joules, by a sensor or by a stated model."""
