"""Convolutions and matrix products: tiles of results that stay in registers while sums run."""
