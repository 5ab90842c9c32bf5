"""The open set of methods: changes of a model that make it cheaper, one file each."""
