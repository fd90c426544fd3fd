"""The innermost loop of matrix products: a tile of the result kept in registers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import FLOAT32
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import Index
from minigraph.backends.llvm.target import Target


@dataclass(frozen=True)
class RegisterTile:
    """``rows`` rows of ``vectors`` vectors: sums of products that never leave the registers.

    Each step along the depth loads ``vectors`` vectors of the right operand and, row by row, one
    number of the left one. With 32 registers 8 x 2 sums leave room for these and keep both
    multipliers of a core busy; with 16 registers 4 x 2 do.
    """

    rows: int
    vectors: int
    lanes: int

    @property
    def columns(self) -> int:
        return self.vectors * self.lanes

    def emit(
        self,
        k: Kernel,
        depth: Index,
        left: Callable[[int, Value], Value],
        right: Callable[[Value, int], Value],
        initial: Callable[[int, int], Value] | None,
        result: Callable[[int, int, Value], None],
        unroll: int = 4,
    ) -> None:
        """``result(i, j, initial(i, j) + sum over d of left(i, d) * right(d, j))``.

        ``left`` gives a number in every lane, ``right`` the j-th vector. The depth is a multiple
        of ``unroll``.
        """
        places = [(i, j) for i in range(self.rows) for j in range(self.vectors)]
        zero = k.zero(FLOAT32.with_lanes(self.lanes))
        start = [zero if initial is None else initial(i, j) for i, j in places]

        def step(first: Value, carried: list[Value]) -> list[Value]:
            sums = list(carried)
            for d in range(unroll):
                at = first + d if d else first
                vectors = [right(at, j) for j in range(self.vectors)]
                for i in range(self.rows):
                    number = left(i, at)
                    for j in range(self.vectors):
                        place = i * self.vectors + j
                        sums[place] = k.fma(number, vectors[j], sums[place])
            return sums

        sums = k.carry(0, depth, start, step, unroll)
        for (i, j), value in zip(places, sums, strict=True):
            result(i, j, value)


def register_tile(target: Target, vectors: int = 2) -> RegisterTile:
    """The tile that suits a processor."""
    return RegisterTile(8 if target.vector_registers >= 32 else 4, vectors, target.lanes(4))
