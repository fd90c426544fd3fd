<<<<<<< HEAD
"""Convolution kernels: Winograd's algorithm for 3x3 windows."""
=======
"""Convolutions and matrix products: tiles of results that stay in registers while sums run."""
>>>>>>> w-gemm
