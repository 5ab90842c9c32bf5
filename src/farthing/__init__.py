"""farthing finds the cheapest way to run the model you have, and proves that nothing was lost on the way."""
