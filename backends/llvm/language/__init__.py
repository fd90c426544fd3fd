"""A small language for kernels over llvmlite: typed values with operators, arrays with strides,
loops, masks, reductions, parallel ranges. ``kernel.py`` is the place to start reading."""
