"""Matrix multiplication: BLAS, cut by rows or columns for the threads."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np

from minigraph.backends.numpy.kernel import Binding, Call, Kernel, in_parallel, simple

_BLOCK_FLOPS = 1 << 22  # smallest product worth a thread


def _bind(binding: Binding) -> Call:
    a, b = binding.inputs
    a = np.swapaxes(a, -1, -2) if binding.op.transpose_a else a
    b = np.swapaxes(b, -1, -2) if binding.op.transpose_b else b
    out = binding.output
    if out.size == 0:
        return lambda: None
    if a.shape[-1] == 0:
        return partial(out.fill, 0)
    flops = 2 * out.size * a.shape[-1]
    rows, columns = out.shape[-2:]
    by_rows = rows >= columns
    count = max(1, min(flops // _BLOCK_FLOPS, (rows if by_rows else columns) // 16, 16))
    edges = np.linspace(0, rows if by_rows else columns, count + 1).astype(int).tolist()
    calls: list[list[Call]] = []
    for low, high in pairwise(edges):
        part = slice(low, high)
        if by_rows:
            calls.append([partial(np.matmul, a[..., part, :], b, out=out[..., part, :])])
        else:
            calls.append([partial(np.matmul, a, b[..., part], out=out[..., part])])
    return in_parallel(binding.workers, calls)


MATMUL: Kernel = simple(_bind)
