"""Winograd's transforms of 3x3 convolutions, F(2, 3) and F(4, 3), on vectors of channels.

F(m, 3) computes m neighbouring outputs of a 3-tap correlation with m + 2 multiplications instead
of 3 m (Lavin & Gray 2015, arXiv:1509.09308): both operands are polynomials, which it evaluates at
m + 1 points and infinity, multiplies there, and interpolates::

    y = A^T [(G w) * (B^T d)]                 d: m + 2 inputs, w: 3 taps, y: m outputs

In two dimensions each transform is applied along rows and along columns: ``A^T M A`` and so on.
y is linear in w and in d, so the gradient of w is ``G^T [(A gy A^T) * (B^T d B)] G``.

The points of F(2, 3) are 0, +-1 and infinity; those of F(4, 3) are 0, +-sqrt(1/2), +-sqrt(2) and
infinity, with a third of the rounding errors of the usual 0, +-1, +-2: powers of points further
from 1 are further apart. The rows of a pair of points +-p agree in their even terms and differ in
the sign of their odd terms: a pair costs one sum and one difference of these. (Row i of B^T holds
the coefficients of the product of x - p over all points p but the i-th, the last row that of all;
G's rows are 1, p, p^2 over what that product is at p; A^T's columns 1, p, p^2, p^3. Pairs of
columns are scaled so that more coefficients are 1, and G's rows by the inverse.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.value import Value

Grid = Sequence[Sequence[Value]]
"""Vectors by row and column."""

TAPS = 3


@dataclass(frozen=True)
class Winograd:
    """The matrices of F(m, 3). Values at the points are numbered row by row."""

    outputs: int
    input_matrix: np.ndarray  # B^T
    weight_matrix: np.ndarray  # G
    output_matrix: np.ndarray  # A^T

    @property
    def points(self) -> int:
        """Points along one axis, and so inputs of a tile."""
        return self.outputs + TAPS - 1

    @property
    def products(self) -> int:
        """Multiplications of a tile."""
        return self.points**2


F2 = Winograd(
    2,
    np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]]),
    np.array([[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]]),
    np.array([[1, 1, 1, 0], [0, 1, -1, 1]]),
)
_ROOT = math.sqrt(2)
_HALF = math.sqrt(1 / 2)
F4 = Winograd(
    4,
    np.array(
        [
            [1, 0, -5 / 2, 0, 1, 0],
            [0, -_ROOT, -2, _HALF, 1, 0],
            [0, _ROOT, -2, -_HALF, 1, 0],
            [0, -_HALF, -1 / 2, _ROOT, 1, 0],
            [0, _HALF, -1 / 2, -_ROOT, 1, 0],
            [0, 1, 0, -5 / 2, 0, 1],
        ]
    ),
    np.array(
        [
            [1, 0, 0],
            [-_HALF * 2 / 3, -1 / 3, -_HALF / 3],
            [-_HALF * 2 / 3, 1 / 3, -_HALF / 3],
            [1 / 3, _ROOT / 3, 2 / 3],
            [1 / 3, -_ROOT / 3, 2 / 3],
            [0, 0, 1],
        ]
    ),
    np.array(
        [
            [1, _ROOT, _ROOT, 1 / 2, 1 / 2, 0],
            [0, 1, -1, _HALF, -_HALF, 0],
            [0, _HALF, _HALF, 1, 1, 0],
            [0, 1 / 2, -1 / 2, _ROOT, -_ROOT, 1],
        ]
    ),
)
BY_OUTPUTS = {2: F2, 4: F4}


def transform(k: Kernel, matrix: np.ndarray, load: Callable[[int, int], Value]) -> Grid:
    """``matrix @ X @ matrix.T`` with X[i][j] = load(i, j)."""
    size = range(matrix.shape[1])
    columns = [multiply(k, matrix, [load(i, j) for i in size]) for j in size]
    return [multiply(k, matrix, [column[i] for column in columns]) for i in range(matrix.shape[0])]


def multiply(k: Kernel, matrix: np.ndarray, vectors: Sequence[Value]) -> list[Value]:
    """``matrix @ vectors`` with few operations: pairs of rows, or else of columns, share work."""
    rows = _pairs(matrix)
    if rows:
        return _multiply_row_pairs(k, matrix, vectors, rows)
    # Columns p and q: a x_p + b x_q = (a + b)/2 (x_p + x_q) + (a - b)/2 (x_p - x_q).
    matrix, vectors = np.array(matrix, float), list(vectors)
    for p, q in _pairs(matrix.T):
        vectors[p], vectors[q] = vectors[p] + vectors[q], vectors[p] - vectors[q]
        even, odd = _even_and_odd(matrix[:, p], matrix[:, q])
        matrix[:, p], matrix[:, q] = even, odd
    return [_combine(k, row, vectors) for row in matrix]


def _multiply_row_pairs(
    k: Kernel, matrix: np.ndarray, vectors: Sequence[Value], pairs: Sequence[tuple[int, int]]
) -> list[Value]:
    results: dict[int, Value] = {}
    for p, q in pairs:
        even_terms, odd_terms = _even_and_odd(matrix[p], matrix[q])
        factor = float(odd_terms[np.nonzero(odd_terms)[0][-1]])
        even = _combine(k, even_terms, vectors)
        odd = _combine(k, odd_terms / factor, vectors)
        results[p], results[q] = (_plus_product(k, even, odd, f) for f in (factor, -factor))
    for i, row in enumerate(matrix):
        if i not in results:
            results[i] = _combine(k, row, vectors)
    return [results[i] for i in range(len(matrix))]


def _pairs(matrix: np.ndarray) -> list[tuple[int, int]]:
    """Neighbouring rows whose even and odd parts have no term in common."""
    found = []
    for p in range(1, len(matrix) - 1, 2):
        even, odd = _even_and_odd(matrix[p], matrix[p + 1])
        if even.any() and odd.any() and not (even * odd).any():
            found.append((p, p + 1))
    return found


def _even_and_odd(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (a + b) / 2, (a - b) / 2


def _combine(k: Kernel, coefficients: np.ndarray, vectors: Sequence[Value]) -> Value:
    """A sum of products with constants; those of 1 come first and cost an addition at most."""
    terms = [(float(c), v) for c, v in zip(coefficients, vectors, strict=True) if c]
    terms.sort(key=lambda term: term[0] != 1)
    (factor, vector), *rest = terms
    total = vector if factor == 1 else vector * factor
    for factor, vector in rest:
        total = _plus_product(k, total, vector, factor)
    return total


def _plus_product(k: Kernel, total: Value, vector: Value, factor: float) -> Value:
    if factor == 1:
        return total + vector
    if factor == -1:
        return total - vector
    return k.fma(vector, vector.like(factor), total)


def transposed(rows: Sequence[Value]) -> list[Value]:
    """A square of as many vectors as lanes, transposed.

    Interleaving vector i with vector i + n/2, element by element, moves the highest bit of an
    element's row number below its column number. After log2(n) rounds all bits have moved.
    """
    rows = list(rows)
    n = len(rows)
    pairs = [lane for i in range(n) for lane in (i, n + i)]
    for _ in range(n.bit_length() - 1):
        rows = [
            rows[i].shuffle(half, rows[i + n // 2])
            for i in range(n // 2)
            for half in (pairs[:n], pairs[n:])
        ]
    return rows
