"""A number or a vector within a kernel, with Python's operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import llvmlite.ir as ir

from minigraph.backends.llvm.language.types import BOOL, UINT32, UINT64, Type


class Value:
    """What an instruction gives. Operators emit further instructions where it was made.

    Numbers of Python take the type of the other operand, and scalars are spread over the lanes of
    a vector. ``//`` and ``%`` are for integers of zero or more; ``>>`` keeps the sign of signed
    ones.
    """

    __slots__ = ("builder", "ir", "type")

    def __init__(self, builder: ir.IRBuilder, value: ir.Value, type_: Type) -> None:
        self.builder = builder
        self.ir = value
        self.type = type_

    @property
    def lanes(self) -> int:
        return self.type.lanes

    # ---- arithmetic

    def __add__(self, other: Any) -> Value:
        return self._arithmetic(other, "fadd", "add")

    __radd__ = __add__

    def __sub__(self, other: Any) -> Value:
        return self._arithmetic(other, "fsub", "sub")

    def __rsub__(self, other: Any) -> Value:
        return self.like(other) - self

    def __mul__(self, other: Any) -> Value:
        return self._arithmetic(other, "fmul", "mul")

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Value:
        return self._arithmetic(other, "fdiv", None)

    def __rtruediv__(self, other: Any) -> Value:
        return self.like(other) / self

    def __floordiv__(self, other: Any) -> Value:
        return self._arithmetic(other, None, "udiv")

    def __mod__(self, other: Any) -> Value:
        return self._arithmetic(other, None, "urem")

    def __neg__(self) -> Value:
        if self.type.is_float:
            return self._same(self.builder.fneg(self.ir))
        return self._same(self.builder.neg(self.ir))

    # ---- bits

    def __and__(self, other: Any) -> Value:
        return self._arithmetic(other, None, "and_")

    def __or__(self, other: Any) -> Value:
        return self._arithmetic(other, None, "or_")

    def __xor__(self, other: Any) -> Value:
        return self._arithmetic(other, None, "xor")

    def __invert__(self) -> Value:
        return self._same(self.builder.not_(self.ir))

    def __lshift__(self, other: Any) -> Value:
        return self._arithmetic(other, None, "shl")

    def __rshift__(self, other: Any) -> Value:
        return self._arithmetic(other, None, "ashr" if self.type.kind == "signed" else "lshr")

    # ---- comparison: bool, and false where a float is not a number (``!=``: true)

    def __lt__(self, other: Any) -> Value:
        return self._compare("<", other)

    def __le__(self, other: Any) -> Value:
        return self._compare("<=", other)

    def __gt__(self, other: Any) -> Value:
        return self._compare(">", other)

    def __ge__(self, other: Any) -> Value:
        return self._compare(">=", other)

    def equals(self, other: Any) -> Value:
        return self._compare("==", other)

    def differs(self, other: Any) -> Value:
        return self._compare("!=", other)

    def is_nan(self) -> Value:
        return self.differs(self)

    def select(self, a: Any, b: Any) -> Value:
        """``a`` where this bool holds, else ``b``; one of them at least is a Value."""
        first = a if isinstance(a, Value) else b
        kind = first.type.with_lanes(max(self.lanes, *(_lanes(v) for v in (a, b))))
        condition = self.spread(kind.lanes)
        chosen = self.builder.select(condition.ir, self._as(a, kind).ir, self._as(b, kind).ir)
        return Value(self.builder, chosen, kind)

    def settled(self) -> Value:
        """The same index, which LLVM does not trace back to its origin (see ``View.settled``)."""
        pointer = self.builder.inttoptr(self.ir, ir.PointerType())
        return self._same(self.builder.ptrtoint(pointer, self.type.ir))

    # ---- conversion

    def to(self, type_: Type) -> Value:
        """The same number in another type (lanes are kept): floats to integers truncate.

        A float that the integer cannot hold gives some integer, as in C.
        """
        target = type_.with_lanes(self.lanes)
        if target == self.type:
            return self
        if target.kind == "bool":
            return self.differs(0)
        return Value(self.builder, self._convert(target), target)

    def _convert(self, target: Type) -> ir.Value:
        source, b = self.type, self.builder
        if source.is_float and target.is_float:
            convert = b.fpext if target.bits > source.bits else b.fptrunc
        elif source.is_float:
            convert = b.fptosi if target.kind == "signed" else b.fptoui
        elif target.is_float:
            convert = b.sitofp if source.kind == "signed" else b.uitofp
        elif target.bits == source.bits:
            return self.ir
        elif target.bits < source.bits:
            convert = b.trunc
        else:
            convert = b.sext if source.kind == "signed" else b.zext
        return convert(self.ir, target.ir)

    def bits_as(self, type_: Type) -> Value:
        """The same bits, read as another type of the same width."""
        target = type_.with_lanes(self.lanes)
        return Value(self.builder, self.builder.bitcast(self.ir, target.ir), target)

    @property
    def bits(self) -> Value:
        """A float's bits as an unsigned integer."""
        return self.bits_as(UINT32 if self.type.bits == 32 else UINT64)

    # ---- lanes

    def spread(self, lanes: int) -> Value:
        """A scalar in every lane; a vector of so many lanes stays as it is."""
        if self.lanes == lanes:
            return self
        if self.lanes != 1:
            raise ValueError(f"Expected a scalar or {lanes} lanes, got {self.lanes}")
        wide = self.type.with_lanes(lanes)
        undefined = ir.Constant(wide.ir, ir.Undefined)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
        first = self.builder.insert_element(undefined, self.ir, ir.Constant(ir.IntType(32), 0))
        return Value(self.builder, self.builder.shuffle_vector(first, undefined, zeros), wide)

    def lane(self, index: int | Value) -> Value:
        """One lane, as a scalar."""
        if self.lanes == 1:
            return self
        number = index.ir if isinstance(index, Value) else ir.Constant(ir.IntType(32), index)
        element = self.builder.extract_element(self.ir, number)
        return Value(self.builder, element, self.type.with_lanes(1))

    def with_lane(self, index: int | Value, scalar: Value) -> Value:
        """This vector with another number in one lane."""
        if self.lanes == 1:
            return scalar
        number = index.ir if isinstance(index, Value) else ir.Constant(ir.IntType(32), index)
        return self._same(self.builder.insert_element(self.ir, scalar.ir, number))

    def shuffle(self, indices: Sequence[int], other: Value | None = None) -> Value:
        """Lanes by number, those of ``other`` counted on from this vector's."""
        second = self if other is None else other
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(indices)), list(indices))
        mixed = self.builder.shuffle_vector(self.ir, second.ir, mask)
        return Value(self.builder, mixed, self.type.with_lanes(len(indices)))

    # ---- helpers

    def like(self, number: Any) -> Value:
        """A number (or a Value) with this one's type and lanes."""
        return self._as(number, self.type)

    def _as(self, number: Any, type_: Type) -> Value:
        if isinstance(number, Value):
            return number.spread(type_.lanes)
        return Value(self.builder, type_.constant(number), type_)

    def _same(self, value: ir.Value) -> Value:
        return Value(self.builder, value, self.type)

    def _pair(self, other: Any) -> tuple[Value, Value]:
        lanes = max(self.lanes, _lanes(other))
        a = self.spread(lanes)
        b = a._as(other, a.type)
        if a.type.bits != b.type.bits or a.type.is_float != b.type.is_float:
            raise TypeError(f"Expected operands of one type, got {a.type} and {b.type}")
        return a, b

    def _arithmetic(self, other: Any, on_floats: str | None, on_integers: str | None) -> Value:
        a, b = self._pair(other)
        name = on_floats if a.type.is_float else on_integers
        if name is None:
            raise TypeError(f"Expected another type for this operator, got {a.type}")
        return Value(self.builder, getattr(self.builder, name)(a.ir, b.ir), a.type)

    def _compare(self, operator: str, other: Any) -> Value:
        a, b = self._pair(other)
        if a.type.is_float:
            compare = self.builder.fcmp_unordered if operator == "!=" else self.builder.fcmp_ordered
        elif a.type.kind == "signed":
            compare = self.builder.icmp_signed
        else:
            compare = self.builder.icmp_unsigned
        return Value(self.builder, compare(operator, a.ir, b.ir), BOOL.with_lanes(a.lanes))


def _lanes(operand: Any) -> int:
    return operand.lanes if isinstance(operand, Value) else 1
