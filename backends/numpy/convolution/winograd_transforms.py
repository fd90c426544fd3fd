"""The three transforms of Winograd's F(4, 3), and their transposes, as calls on contiguous arrays.

F(4, 3) computes 4 outputs of a 3-tap correlation with 6 multiplications instead of 12
(Lavin & Gray 2015, arXiv:1509.09308). It evaluates both polynomials at 0, 1, -1, 2, -2 and
infinity, multiplies there, and interpolates:

    y = A^T [(G w) * (B^T d)]

          [1/4     0     0 ]          [4  0 -5  0  1  0]          [1  1  1  1  1  0]
          [-1/6 -1/6  -1/6 ]          [0 -4 -4  1  1  0]    A^T = [0  1 -1  2 -2  0]
    G   = [-1/6  1/6  -1/6 ]    B^T = [0  4 -4 -1  1  0]          [0  1  1  4  4  0]
          [1/24  1/12  1/6 ]          [0 -2 -1  2  1  0]          [0  1 -1  8 -8  1]
          [1/24 -1/12  1/6 ]          [0  2 -1 -2  1  0]
          [0     0      1  ]          [0  4  0 -5  0  1]

y is linear in w, so that the gradient of w is G^T [(A gy) * (B^T d)].

The points come in pairs +-p, whose rows share their even and their odd terms: each pair costs one
sum and one difference. Every function works on flat arrays of equal size that lie in cache, and
overwrites its inputs where that saves a buffer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from minigraph.backends.numpy.convolution.algorithm import Call

OUTPUTS = 4
TAPS = 3
POINTS = 6

Arrays = Sequence[np.ndarray] | np.ndarray  # a sequence, or the leading axis of an array


def _add(left: np.ndarray, right: np.ndarray, out: np.ndarray) -> Call:
    return partial(np.add, left, right, out=out)


def _subtract(left: np.ndarray, right: np.ndarray, out: np.ndarray) -> Call:
    return partial(np.subtract, left, right, out=out)


def _scale(array: np.ndarray, factor: float, out: np.ndarray) -> Call:
    return partial(np.multiply, array, np.asarray(factor, array.dtype), out=out)


def input_transform(d: Arrays, t: Arrays) -> list[Call]:
    """t = B^T d, six arrays from six; overwrites d[1] and d[4]."""
    return [
        _scale(d[2], 4, t[0]),
        _subtract(d[4], t[0], t[0]),  # even terms of points +-1: d4 - 4 d2
        _scale(d[1], 4, t[5]),
        _subtract(d[3], t[5], t[5]),  # odd terms: d3 - 4 d1
        _add(t[0], t[5], t[1]),
        _subtract(t[0], t[5], t[2]),
        _subtract(d[4], d[2], d[4]),  # even terms of points +-2: d4 - d2
        _subtract(d[3], d[1], d[1]),
        _add(d[1], d[1], d[1]),  # odd terms: 2 (d3 - d1)
        _add(d[4], d[1], t[3]),
        _subtract(d[4], d[1], t[4]),
        _subtract(d[0], d[2], t[0]),
        _scale(t[0], 4, t[0]),
        _add(t[0], d[4], t[0]),  # 4 (d0 - d2) + (d4 - d2)
        _subtract(d[5], d[3], t[5]),
        _add(d[1], d[1], d[1]),
        _subtract(t[5], d[1], t[5]),  # (d5 - d3) - 4 (d3 - d1)
    ]


def output_transform(m: Arrays, scratch: Arrays) -> tuple[list[Call], list[np.ndarray]]:
    """A^T m: the calls, and the four arrays among m and two scratch arrays that will hold it."""
    even, result2 = scratch
    calls = [
        _add(m[1], m[2], even),
        _subtract(m[1], m[2], m[1]),
        _add(m[3], m[4], result2),
        _subtract(m[3], m[4], m[3]),
        _add(m[0], even, m[0]),
        _add(m[0], result2, m[0]),  # y0
        _scale(result2, 4, result2),
        _add(result2, even, result2),  # y2
        _add(m[3], m[3], m[3]),
        _add(m[1], m[3], m[4]),  # y1
        _scale(m[3], 4, m[3]),
        _add(m[3], m[1], m[3]),
        _add(m[3], m[5], m[3]),  # y3
    ]
    return calls, [m[0], m[4], result2, m[3]]


def weight_transform(w: Arrays, u: Arrays) -> list[Call]:
    """u = G w, six arrays from three; overwrites w[0]."""
    return [
        _add(w[0], w[2], u[0]),
        _scale(u[0], -1 / 6, u[0]),  # even terms of points +-1
        _scale(w[1], 1 / 6, u[5]),  # odd terms
        _subtract(u[0], u[5], u[1]),
        _add(u[0], u[5], u[2]),
        _scale(w[0], 1 / 4, u[0]),
        _scale(w[2], 4, u[5]),
        _add(w[0], u[5], w[0]),
        _scale(w[0], 1 / 24, w[0]),  # even terms of points +-2
        _scale(w[1], 1 / 12, u[5]),  # odd terms
        _add(w[0], u[5], u[3]),
        _subtract(w[0], u[5], u[4]),
        partial(np.copyto, u[5], w[2]),
    ]


def output_gradient_transform(g: Arrays, z: Arrays) -> tuple[list[Call], list[np.ndarray]]:
    """A g: the calls, and the six arrays that will hold it: g[0], z[0] ... z[3], g[3].

    Overwrites g[1] and g[2].
    """
    calls = [
        _add(g[0], g[2], z[0]),
        _add(g[1], g[3], z[1]),
        _scale(g[2], 4, g[2]),
        _add(g[0], g[2], g[2]),  # even terms of points +-2
        _scale(g[3], 4, z[2]),
        _add(g[1], z[2], g[1]),
        _add(g[1], g[1], g[1]),  # odd terms: 2 (g1 + 4 g3)
        _add(g[2], g[1], z[2]),
        _subtract(g[2], g[1], z[3]),
        _subtract(z[0], z[1], g[1]),
        _add(z[0], z[1], z[0]),
    ]
    return calls, [g[0], z[0], g[1], z[2], z[3], g[3]]


def weight_gradient_transform(m: Arrays) -> tuple[list[Call], list[np.ndarray]]:
    """G^T m: the calls, and the three arrays among m that will hold it."""
    calls = [
        _subtract(m[2], m[1], m[2]),
        _add(m[1], m[1], m[1]),
        _add(m[1], m[2], m[1]),
        _scale(m[1], -1 / 6, m[1]),  # -(m1 + m2) / 6
        _subtract(m[3], m[4], m[3]),
        _add(m[4], m[4], m[4]),
        _add(m[4], m[3], m[4]),
        _scale(m[4], 1 / 24, m[4]),  # (m3 + m4) / 24
        _scale(m[0], 1 / 4, m[0]),
        _add(m[0], m[1], m[0]),
        _add(m[0], m[4], m[0]),  # w0
        _add(m[2], m[2], m[2]),
        _add(m[2], m[3], m[2]),
        _scale(m[2], 1 / 12, m[2]),  # w1 = (m2 - m1) / 6 + (m3 - m4) / 12
        _scale(m[4], 4, m[4]),
        _add(m[4], m[1], m[4]),
        _add(m[4], m[5], m[4]),  # w2
    ]
    return calls, [m[0], m[2], m[4]]
