"""Kernels by family; ``table.py`` lists them all."""
