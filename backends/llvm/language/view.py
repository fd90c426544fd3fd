"""Arrays within a kernel: a pointer, an element type, and a stride for each axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import llvmlite.ir as ir

from minigraph.backends.llvm.language.types import INDEX, UINT32, Type, memory_type, value_type
from minigraph.backends.llvm.language.value import Value
from minigraph.ir.spec import DType

if TYPE_CHECKING:
    from minigraph.backends.llvm.language.kernel import Kernel

Index = Value | int


class View:
    """``view.load(i, j)`` reads the element at ``i * stride0 + j * stride1``.

    Strides are numbers of elements: Python's, or Values. Fewer indices than strides address the
    first axes. What is loaded is computed with in ``value_type(dtype)``.
    """

    def __init__(self, kernel: Kernel, pointer: ir.Value, dtype: DType, *strides: Index) -> None:
        self.kernel = kernel
        self.pointer = pointer
        self.dtype = dtype
        self.strides = strides

    @property
    def type(self) -> Type:
        """The type of one loaded element."""
        return value_type(self.dtype)

    def at(self, *indices: Index) -> View:
        """The same array seen from another element."""
        return View(self.kernel, self._address(indices), self.dtype, *self.strides)

    def shifted(self, elements: Index) -> View:
        """The same array seen from so many elements further on in memory."""
        return self.strided(1).at(elements).strided(*self.strides)

    def settled(self) -> View:
        """The same, with a pointer that LLVM does not trace back to what it was computed from.

        For use before an inner loop: where addresses are long sums, LLVM's loop strength reduction
        weighs all ways of splitting them, which can take seconds.
        """
        pointer = self.kernel.pointer_at(self.address())
        return View(self.kernel, pointer, self.dtype, *self.strides)

    def strided(self, *strides: Index) -> View:
        """The same first element with other strides."""
        return View(self.kernel, self.pointer, self.dtype, *strides)

    def load(self, *indices: Index, lanes: int = 1, mask: Value | None = None) -> Value:
        """One element, or ``lanes`` that follow each other in memory.

        Lanes for which ``mask`` does not hold are not read and give 0.
        """
        pointer = self._address(indices)
        wanted = memory_type(self.dtype, lanes)
        if mask is None:
            raw = self.kernel.builder.load(pointer, align=self._alignment, typ=wanted)
        elif lanes == 1:
            raw = self._load_if(pointer, wanted, mask)
        else:
            raw = self.kernel.masked_load(pointer, wanted, mask, self._alignment)
        return self._value(raw, lanes)

    def store(self, value: Value, *indices: Index, mask: Value | None = None) -> None:
        """Write one element, or the lanes of a vector side by side, where ``mask`` holds."""
        pointer = self._address(indices)
        raw = self._memory(value)
        if mask is None:
            self.kernel.builder.store(raw, pointer, align=self._alignment)
        elif value.lanes == 1:
            with self.kernel.when(mask):
                self.kernel.builder.store(raw, pointer, align=self._alignment)
        else:
            self.kernel.masked_store(raw, pointer, mask, self._alignment)

    def splat(self, *indices: Index, lanes: int) -> Value:
        """One element in every lane."""
        return self.load(*indices).spread(lanes)

    def gather(self, offsets: list[Index], mask: Value | None = None) -> Value:
        """The elements at these distances from the first, one a lane."""
        lanes = len(offsets)
        result = self.kernel.zero(self.type.with_lanes(lanes))
        for lane, offset in enumerate(offsets):
            allowed = None if mask is None else mask.lane(lane)
            element = self.strided(1).load(offset, mask=allowed)
            result = result.with_lane(lane, element)
        return result

    def scatter(self, value: Value, offsets: list[Index], mask: Value | None = None) -> None:
        """Write the lanes of a vector to these distances from the first, in their order."""
        for lane, offset in enumerate(offsets):
            allowed = None if mask is None else mask.lane(lane)
            self.strided(1).store(value.lane(lane), offset, mask=allowed)

    def prefetch(self, *indices: Index) -> None:
        """Ask for a cache line that will be read soon."""
        self.kernel.prefetch(self._address(indices))

    # ---- addresses and conversion

    @property
    def _alignment(self) -> int:
        return self.dtype.itemsize

    def _address(self, indices: tuple[Index, ...]) -> ir.Value:
        offset: Any = 0
        for index, stride in zip(indices, self.strides, strict=False):
            term = _product(index, stride)
            offset = term if _is(offset, 0) else offset + term
        if isinstance(offset, int):
            if offset == 0:
                return self.pointer
            offset = self.kernel.index(offset)
        return self.kernel.builder.gep(
            self.pointer, [offset.ir], source_etype=memory_type(self.dtype)
        )

    def _load_if(self, pointer: ir.Value, wanted: ir.Type, mask: Value) -> ir.Value:
        builder = self.kernel.builder
        zero = ir.Constant(wanted, 0 if isinstance(wanted, ir.IntType) else 0.0)
        before = builder.block
        with self.kernel.when(mask):
            loaded = builder.load(pointer, align=self._alignment, typ=wanted)
            inside = builder.block
        phi = builder.phi(wanted)
        phi.add_incoming(zero, before)
        phi.add_incoming(loaded, inside)
        return phi

    def _value(self, raw: ir.Value, lanes: int) -> Value:
        builder, type_ = self.kernel.builder, value_type(self.dtype, lanes)
        if self.dtype is DType.BOOL:
            zero = ir.Constant(raw.type, 0 if lanes == 1 else [0] * lanes)
            raw = builder.icmp_unsigned("!=", raw, zero)
        elif self.dtype is DType.FLOAT16:
            raw = builder.fpext(raw, type_.ir)
        elif self.dtype is DType.BFLOAT16:  # the upper half of a float32
            wide = Value(
                builder, builder.zext(raw, UINT32.with_lanes(lanes).ir), UINT32.with_lanes(lanes)
            )
            return (wide << 16).bits_as(type_)
        return Value(builder, raw, type_)

    def _memory(self, value: Value) -> ir.Value:
        builder, wanted = self.kernel.builder, memory_type(self.dtype, value.lanes)
        if value.type != self.type.with_lanes(value.lanes):
            raise TypeError(f"Expected {self.type} to store as {self.dtype}, got {value.type}")
        if self.dtype is DType.BOOL:
            return builder.zext(value.ir, wanted)
        if self.dtype is DType.FLOAT16:
            return builder.fptrunc(value.ir, wanted)
        if self.dtype is DType.BFLOAT16:
            return builder.trunc(rounded_to_bfloat16(value).ir, wanted)
        return value.ir

    def address(self, *indices: Index) -> Value:
        """Where an element lies, as a number."""
        pointer = self._address(indices)
        return Value(self.kernel.builder, self.kernel.builder.ptrtoint(pointer, INDEX.ir), INDEX)


def _is(index: Any, number: int) -> bool:
    return isinstance(index, int) and index == number


def _product(index: Index, stride: Index) -> Any:
    if _is(index, 0) or _is(stride, 0):
        return 0
    return index if _is(stride, 1) else index * stride


def rounded_to_bfloat16(value: Value) -> Value:
    """The upper 16 bits of a float32, rounded to nearest, ties to even; NaN stays NaN.

    Half a step less a bit is added, and one more bit where the last kept bit is odd: a carry
    moves up where more than half is cut off, or exactly half of an odd number.
    """
    bits = value.bits
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return value.is_nan().select(rounded.like(0x7FC0), rounded)
