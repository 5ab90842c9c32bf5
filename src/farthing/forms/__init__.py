"""How a model of each form is written, read and run: what the members of several open sets share."""
