"""How a product is shared out (tiles, parts of the depth), and the launches that it becomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minigraph.backend import Slot
from minigraph.backends.cupy.call import Binding, Call, index_type
from minigraph.backends.cupy.kernels.epilogue import Epilogue, finish_call
from minigraph.backends.cupy.kernels.gemm import STEP, Gemm, Tile
from minigraph.backends.cupy.kernels.gemm_operands import Matrix, Taps, Windows
from minigraph.ir.spec import DType
from minigraph.lowering.epilogue import epilogue_places
from minigraph.places import Place, Table, carve, carved_bytes

_TILES = {
    Tile(128, 128, 8, 8): 1.0,
    Tile(64, 64, 4, 4): 0.7,
    Tile(128, 32, 4, 4): 0.6,
    Tile(256, 16, 4, 4): 0.45,
    Tile(16, 256, 4, 4): 0.45,
}
"""Tiles of 256 threads, and how near to the arithmetic units' rate each comes."""

_BLOCKS = 264  # wanted, two for each multiprocessor of a large device
_LEAST_STEPS = 8  # of a part of the depth
_RATE = {DType.FLOAT64: 1.5e13}  # additions and multiplications a second
_SINGLE_RATE = 3e13


@dataclass(frozen=True)
class Extents:
    """The size of a product. Of several phases: the largest one's."""

    rows: int
    columns: int
    depth: int
    batch: int = 1
    phases: int = 1

    @property
    def is_empty(self) -> bool:
        return self.rows * self.columns * self.batch == 0

    def tiles(self, tile: Tile) -> int:
        """Tiles of a phase."""
        return -(-self.rows // tile.rows) * -(-self.columns // tile.columns) * self.batch

    def padded(self, tile: Tile) -> int:
        """Elements of all phases' tiles, those beyond the result included."""
        return self.tiles(tile) * tile.rows * tile.columns * self.phases


@dataclass(frozen=True)
class Shares:
    """The tile, and the number of parts of the depth: by the extents alone."""

    tile: Tile
    parts: int


def shares(extents: Extents) -> Shares:
    """The tile that wastes least, large ones only where there are enough; then the parts."""
    fitting = [
        tile
        for tile in _TILES
        if tile.rows * tile.columns <= 4096 or extents.tiles(tile) * extents.phases >= _BLOCKS
    ]
    tile = min(fitting, key=lambda tile: extents.padded(tile) / _TILES[tile])
    blocks = max(extents.tiles(tile) * extents.phases, 1)
    steps = -(-extents.depth // STEP)
    return Shares(tile, max(min(_BLOCKS // blocks, steps // _LEAST_STEPS), 1))


def workspace_bytes(extents: Extents, outputs: int, dtype: DType) -> int:
    """For sums of parts, each as large as the output."""
    parts = shares(extents).parts
    return carved_bytes((_accumulated(dtype), parts * outputs)) if parts > 1 else 0


def product_seconds(extents: Extents, dtype: DType, moved: float) -> float:
    """The expected time of a product whose operands and result have so many bytes."""
    how = shares(extents)
    padded = extents.padded(how.tile) / _TILES[how.tile]
    return 2 * padded * extents.depth / _RATE.get(dtype, _SINGLE_RATE) + moved


def _accumulated(dtype: DType) -> DType:
    return DType.FLOAT64 if dtype is DType.FLOAT64 else DType.FLOAT32


@dataclass(frozen=True)
class BatchAxis:
    """One axis of a batch, or the groups of a convolution: how far operands and result move."""

    size: int
    a: int
    b: int
    y: int


ONE = (BatchAxis(1, 0, 0, 0),)


@dataclass(frozen=True)
class Plan:
    """A product with its operands as ``gemm_operands`` has them, and the sizes of each."""

    extents: Extents
    a: Matrix | Windows
    b: Matrix | Windows | Taps
    first_sizes: tuple[int, ...]  # extents, windows
    a_sizes: tuple[int, ...]
    b_sizes: tuple[int, ...]
    y_sizes: tuple[int, ...]
    batch: tuple[BatchAxis, ...] = ONE
    phases: Table | None = None
    adjacent: bool = True  # columns of the result adjoin


def product_calls(binding: Binding, a: Place, b: Place, plan: Plan) -> list[Call]:
    """One launch, or one that leaves parts and one that finishes their sums."""
    if plan.extents.is_empty:
        return []
    y, how = binding.output, shares(plan.extents)
    epilogue, operands = Epilogue.of(binding), epilogue_places(binding)
    assert all(place.strides == y.strides for place in operands if place.spec.shape == y.spec.shape)
    if how.parts == 1:
        return [_call(plan, how, epilogue, (a, b, *operands), y, _pack(plan, operands, y))]
    count = how.parts * y.spec.size
    (parts,) = carve(binding.workspace, (_accumulated(a.spec.dtype), count))
    no_epilogue = Epilogue.plain(parts.spec.dtype)
    width = _pack(plan, (), y) if y.spec.size % 4 == 0 else 1
    return [
        _call(plan, how, no_epilogue, (a, b), parts, width, part_step=y.spec.size),
        finish_call(binding, parts, how.parts),
    ]


def _call(
    plan: Plan,
    how: Shares,
    epilogue: Epilogue,
    reads: Sequence[Place],
    target: Place,
    width: int,
    part_step: int = 0,
) -> Call:
    extents = plan.extents
    code = Gemm(
        dtype=reads[0].spec.dtype,
        tile=how.tile,
        a=plan.a,
        b=plan.b,
        epilogue=epilogue,
        batch_axes=len(plan.batch),
        phases=plan.phases is not None,
        to_parts=how.parts > 1,
        width=width,
        adjacent=plan.adjacent,
        index=index_type(*reads, target),
    )
    batch = [number for axis in plan.batch for number in (axis.size, axis.a, axis.b, axis.y)]
    sizes = (
        *plan.first_sizes, *plan.a_sizes, *plan.b_sizes, *plan.y_sizes,
        *([part_step] if how.parts > 1 else []), *batch,
    )  # fmt: skip
    tables = [] if plan.phases is None else [plan.phases]
    grid = (extents.tiles(how.tile), extents.phases, how.parts)
    return Call(code, (*reads, *tables), (target,), sizes, grid)


def _pack(plan: Plan, operands: Sequence[Slot], y: Slot) -> int:
    """Four results are stored at once where all of them are there, and aligned."""
    steps = [step for axis in plan.batch for step in (axis.y,)]
    if (
        not plan.adjacent
        or plan.extents.columns % 4
        or any(step % 4 for step in (*plan.y_sizes, *steps))
    ):
        return 1
    return 4 if all(_aligned(place, 4) for place in (*operands, y)) else 1


def pack_width(place: Place, columns: int, steps: Sequence[int]) -> int:
    """How many neighbouring columns are read at once: 16 bytes, or at least 8, or one."""
    itemsize = place.spec.dtype.itemsize
    for width in (16 // itemsize, 4):
        if width * itemsize > 16 or columns % width or any(step % width for step in steps):
            continue
        if _aligned(place, width):
            return width
    return 1


def _aligned(place: Place, width: int) -> bool:
    offset = place.offset if isinstance(place, Slot) else 0
    return offset % min(width * place.spec.dtype.itemsize, 16) == 0


def matrix(
    place: Place, outer: int, inner: int, outer_step: int, inner_step: int, others: Sequence[int]
) -> tuple[Matrix, tuple[int, ...]]:
    """An operand of ``outer`` rows or columns of y and a depth of ``inner``, with its sizes.

    ``others`` are its steps along axes of the batch.
    """
    if inner_step == 1:
        width = pack_width(place, inner, (outer_step, *others))
        return Matrix(width, depth_in_columns=True), (outer_step,)
    if outer_step == 1:
        width = pack_width(place, outer, (inner_step, *others))
        return Matrix(width, depth_in_columns=False), (inner_step,)
    return Matrix(1, depth_in_columns=True, adjacent=False), (outer_step, inner_step)
