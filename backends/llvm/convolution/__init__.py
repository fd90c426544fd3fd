"""Convolution kernels: Winograd's algorithm for 3x3 windows."""
