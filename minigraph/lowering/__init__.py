"""From ops to calls of kernels: what compiling backends have in common.

``minigraph/lower.py`` turns a graph into the steps of a program; a compiling backend turns each
step into calls of kernels that it generates. How a kernel is written is the backend's; which calls
an op becomes is often the same for all of them, and stands here. What differs is an argument: a
backend's copy, its elementwise kernel, the ops that this can compute.
"""
