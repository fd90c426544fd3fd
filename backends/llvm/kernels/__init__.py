"""Kernels by family, as in ``minigraph/ops``: each module has a table from ops to lowerings."""
