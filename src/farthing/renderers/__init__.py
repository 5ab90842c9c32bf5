"""Open set: what a deployment is written down as, for machinery that is not ours."""
