"""Convolutions in NumPy: matrix products, copies, and transforms of whole rows.

`algorithms.py` lists the kernels of each direction, `algorithm.py` says what a kernel has to offer.
Read `im2col.py` first; `winograd.py` is the fast one for 3 x 3.

What NumPy (2.4) is good at has shaped them all:

- `matmul` into a strided `out` goes straight to BLAS as long as rows are contiguous.
- Copies between any two layouts cost about as much as a sum, if runs are long.
- Ufuncs are fast on one contiguous run, aligned to a cache line; anything else goes through
  buffers that are allocated in each call. So data are first copied into place, then added.
- All of these release the interpreter lock: Python threads share out images, rows or channels.
"""
