"""The body of one kernel while it is written: arguments, loops, conditions, arithmetic.

Every kernel is a function ``(arguments, thread, threads)`` of the whole program's threads at once.
``arguments`` points at 64-bit words: two pointers for refusals, then pointers, then sizes. What
differs between calls (where tensors lie, how large they are) is an argument; what the machine code
depends on is a field of the ``KernelCode`` that writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import llvmlite.ir as ir

from minigraph.backends.llvm.language.types import BOOL, INDEX, Type, memory_type
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import Index, View
from minigraph.backends.llvm.target import Target
from minigraph.ir.spec import DType

_POINTER = ir.PointerType()
_I64 = ir.IntType(64)

_IMPLICIT = 2  # arguments that every kernel has: where a refusal is flagged, where its place goes


class Kernel:
    """Writes one kernel. Views and Values that it gives out emit into it."""

    def __init__(
        self, module: ir.Module, name: str, target: Target, pointers: int, sizes: int
    ) -> None:
        self.module = module
        self.target = target
        signature = ir.FunctionType(ir.VoidType(), [_POINTER, _I64, _I64])
        self.function = ir.Function(module, signature, name)
        self.function.attributes.add("nounwind")
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))
        arguments, thread, threads = self.function.args
        self.thread = Value(self.builder, thread, INDEX)
        self.threads = Value(self.builder, threads, INDEX)
        self._refusal_flag = self._argument(arguments, 0, _POINTER)
        self._refused_position = self._argument(arguments, 1, _POINTER)
        self.pointers = [
            self._argument(arguments, _IMPLICIT + i, _POINTER) for i in range(pointers)
        ]
        self.sizes = [
            Value(self.builder, self._argument(arguments, _IMPLICIT + pointers + i, _I64), INDEX)
            for i in range(sizes)
        ]

    def _argument(self, arguments: ir.Value, position: int, type_: ir.Type) -> ir.Value:
        place = self.builder.gep(arguments, [ir.Constant(_I64, position)], source_etype=_I64)
        return self.builder.load(place, align=8, typ=type_)

    def finish(self) -> None:
        """The kernel is written."""
        self.builder.ret_void()

    # ---- values

    def lanes(self, dtype: DType) -> int:
        """Lanes of a whole vector of what this dtype is computed with (16-bit floats: float32)."""
        size = 4 if dtype in (DType.FLOAT16, DType.BFLOAT16) else dtype.itemsize
        return self.target.lanes(size)

    def constant(self, number: float, type_: Type) -> Value:
        """A number in every lane."""
        return Value(self.builder, type_.constant(number), type_)

    def zero(self, type_: Type) -> Value:
        return self.constant(0, type_)

    def index(self, number: Index) -> Value:
        """A size or position as a Value."""
        return number if isinstance(number, Value) else self.constant(number, INDEX)

    def view(self, pointer: ir.Value, dtype: DType, *strides: Index) -> View:
        """An array at a pointer."""
        return View(self, pointer, dtype, *strides)

    def lane_numbers(self, lanes: int) -> Value:
        """0, 1, 2, ... as a vector of indices."""
        type_ = INDEX.with_lanes(lanes)
        numbers = 0 if lanes == 1 else list(range(lanes))
        return Value(self.builder, ir.Constant(type_.ir, numbers), type_)

    def first_lanes(self, count: Index, lanes: int) -> Value:
        """A mask that holds in the first ``count`` of ``lanes`` lanes."""
        return self.lane_numbers(lanes) < self.index(count)

    # ---- arithmetic that has no operator

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """``a * b + c``, rounded once where the processor can do that."""
        return self.intrinsic("llvm.fmuladd", a, b, c)

    def maximum(self, a: Value, b: Any) -> Value:
        """The larger of two; not a number where either is not one."""
        return self._extremum(a, a.like(b), a > b)

    def minimum(self, a: Value, b: Any) -> Value:
        """The smaller of two; not a number where either is not one."""
        return self._extremum(a, a.like(b), a < b)

    def _extremum(self, a: Value, b: Value, first: Value) -> Value:
        chosen = first.select(a, b)  # b where either is not a number
        return a.is_nan().select(a, chosen) if a.type.is_float else chosen

    def sqrt(self, a: Value) -> Value:
        return self.intrinsic("llvm.sqrt", a)

    def absolute(self, a: Value) -> Value:
        if a.type.is_float:
            return self.intrinsic("llvm.fabs", a)
        return (a < 0).select(-a, a) if a.type.kind == "signed" else a

    def floor(self, a: Value) -> Value:
        return self.intrinsic("llvm.floor", a)

    def ceil(self, a: Value) -> Value:
        return self.intrinsic("llvm.ceil", a)

    def round(self, a: Value) -> Value:
        """The nearest whole number, the even one of two."""
        return self.intrinsic("llvm.rint", a)

    def copysign(self, a: Value, sign: Value) -> Value:
        """``a`` with the sign of ``sign``."""
        return self.intrinsic("llvm.copysign", a, sign)

    def intrinsic(self, name: str, *operands: Value) -> Value:
        """A function of LLVM whose operands and result have one type."""
        type_ = operands[0].type
        full = f"{name}.{type_.suffix}"
        declared = self.declare(full, type_.ir, [type_.ir] * len(operands))
        result = self.builder.call(declared, [operand.ir for operand in operands])
        return Value(self.builder, result, type_)

    def declare(self, name: str, result: ir.Type, operands: Sequence[ir.Type]) -> ir.Function:
        """A function from elsewhere, declared once in the module."""
        known = self.module.globals.get(name)
        if known is None:
            known = ir.Function(self.module, ir.FunctionType(result, operands), name)
        return known

    def combine_lanes(self, value: Value, combine: Callable[[Value, Value], Value]) -> Value:
        """All lanes of a vector combined in a fixed order: halves, quarters, ..."""
        while value.lanes > 1:
            half = value.lanes // 2
            low, high = range(half), range(half, 2 * half)
            if half == 1:
                return combine(value.lane(0), value.lane(1))
            value = combine(value.shuffle(low), value.shuffle(high))
        return value

    def sum_lanes(self, value: Value) -> Value:
        """The sum of a vector's lanes, in a fixed order."""
        return self.combine_lanes(value, lambda a, b: a + b)

    def any(self, mask: Value) -> Value:
        """Whether a bool holds in some lane."""
        if mask.lanes == 1:
            return mask
        name = f"llvm.vector.reduce.or.{mask.type.suffix}"
        reduce = self.declare(name, BOOL.ir, [mask.type.ir])
        return Value(self.builder, self.builder.call(reduce, [mask.ir]), BOOL)

    # ---- loops and conditions

    @contextmanager
    def loop(self, start: Index, stop: Index, step: Index = 1) -> Iterator[Value]:
        """``for i in range(start, stop, step)``, with a positive step."""
        if isinstance(start, int) and isinstance(stop, int) and isinstance(step, int):
            if stop <= start:
                raise ValueError(f"Expected a loop that may run, got range({start}, {stop})")
            if stop - start <= step:
                yield self.index(start)
                return
        head, body, end = self._blocks("loop", "body", "end")
        before = self.builder.block
        self.builder.branch(head)
        self.builder.position_at_end(head)
        counter = self.builder.phi(_I64)
        counter.add_incoming(self.index(start).ir, before)
        i = Value(self.builder, counter, INDEX)
        self.builder.cbranch((i < stop).ir, body, end)
        self.builder.position_at_end(body)
        yield i
        counter.add_incoming((i + step).ir, self.builder.block)
        self.builder.branch(head)
        self.builder.position_at_end(end)

    def carry(
        self,
        start: Index,
        stop: Index,
        initial: Sequence[Value],
        body: Callable[[Value, list[Value]], Sequence[Value]],
        step: Index = 1,
    ) -> list[Value]:
        """A loop that hands values from round to round: ``values = body(i, values)``."""
        head, inside, end = self._blocks("carry", "body", "end")
        before = self.builder.block
        self.builder.branch(head)
        self.builder.position_at_end(head)
        counter = self.builder.phi(_I64)
        counter.add_incoming(self.index(start).ir, before)
        phis = [self.builder.phi(value.type.ir) for value in initial]
        for phi, value in zip(phis, initial, strict=True):
            phi.add_incoming(value.ir, before)
        i = Value(self.builder, counter, INDEX)
        carried = [Value(self.builder, phi, v.type) for phi, v in zip(phis, initial, strict=True)]
        self.builder.cbranch((i < stop).ir, inside, end)
        self.builder.position_at_end(inside)
        following = body(i, carried)
        counter.add_incoming((i + step).ir, self.builder.block)
        for phi, value in zip(phis, following, strict=True):
            phi.add_incoming(value.ir, self.builder.block)
        self.builder.branch(head)
        self.builder.position_at_end(end)
        return carried

    @contextmanager
    def parallel(self, count: Index) -> Iterator[Value]:
        """This thread's share of ``range(count)``: a run of neighbours.

        Iterations must not depend on each other; their results are then the same whatever the
        number of threads.
        """
        start, stop = self.share(count)
        with self.loop(start, stop) as i:
            yield i

    def share(self, count: Index) -> tuple[Value, Value]:
        """Where this thread's share of ``range(count)`` starts and stops."""
        count = self.index(count)
        return count * self.thread // self.threads, count * (self.thread + 1) // self.threads

    def vectors(
        self, count: Index, lanes: int, body: Callable[[Value, Value | None], None]
    ) -> None:
        """``body(i, mask)`` for i = 0, lanes, 2 lanes, ... below ``count``.

        The mask is None but for the last round, where fewer elements than lanes may be left.
        """
        if lanes == 1:
            with self.loop(0, count) as i:
                body(i, None)
            return
        if isinstance(count, int):
            whole: Index = count // lanes * lanes
            if whole:
                with self.loop(0, whole, lanes) as i:
                    body(i, None)
            if count % lanes:
                body(self.index(whole), self.first_lanes(count % lanes, lanes))
            return
        whole = count // lanes * lanes
        with self.loop(0, whole, lanes) as i:
            body(i, None)
        with self.when(whole < count):
            body(whole, self.first_lanes(count - whole, lanes))

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """What is emitted within runs only where the (scalar) condition holds."""
        with self.builder.if_then(condition.ir):
            yield

    @contextmanager
    def when_else(self, condition: Value) -> Iterator[tuple[Any, Any]]:
        """``with k.when_else(c) as (then, otherwise): with then: ...; with otherwise: ...``"""
        with self.builder.if_else(condition.ir) as branches:
            yield branches

    def _blocks(self, *names: str) -> list[ir.Block]:
        return [self.function.append_basic_block(name) for name in names]

    # ---- memory

    def masked_load(
        self, pointer: ir.Value, wanted: ir.Type, mask: Value, alignment: int
    ) -> ir.Value:
        """Lanes where the mask holds; 0 elsewhere."""
        suffix = _suffix(wanted)
        function = self.declare(
            f"llvm.masked.load.{suffix}.p0",
            wanted,
            [_POINTER, ir.IntType(32), mask.type.ir, wanted],
        )
        zeros = ir.Constant(wanted, [0 if "i" in suffix else 0.0] * mask.lanes)
        align = ir.Constant(ir.IntType(32), alignment)
        return self.builder.call(function, [pointer, align, mask.ir, zeros])

    def masked_store(self, raw: ir.Value, pointer: ir.Value, mask: Value, alignment: int) -> None:
        """Write the lanes where the mask holds."""
        function = self.declare(
            f"llvm.masked.store.{_suffix(raw.type)}.p0",
            ir.VoidType(),
            [raw.type, _POINTER, ir.IntType(32), mask.type.ir],
        )
        align = ir.Constant(ir.IntType(32), alignment)
        self.builder.call(function, [raw, pointer, align, mask.ir])

    def prefetch(self, pointer: ir.Value) -> None:
        """Ask for a cache line, to be brought into the second-level cache for reading."""
        i32 = ir.IntType(32)
        function = self.declare("llvm.prefetch.p0", ir.VoidType(), [_POINTER, i32, i32, i32])
        self.builder.call(function, [pointer, *(ir.Constant(i32, n) for n in (0, 2, 1))])

    def table(self, words: int) -> View:
        """A small array of indices in this thread's stack, made once a call."""
        return self.local(DType.INT64, words)

    def local(self, dtype: DType, count: int) -> View:
        """A small array in this thread's stack, made once a call."""
        with self.builder.goto_entry_block():
            memory = self.builder.alloca(memory_type(dtype), count)
            memory.align = 64
            # llvmlite gives this pointer a type of element, which vectors are not stored to.
            pointer = self.builder.inttoptr(self.builder.ptrtoint(memory, _I64), _POINTER)
        return self.view(pointer, dtype, 1)

    def pointer_at(self, address: Value) -> ir.Value:
        """The pointer with this address."""
        return self.builder.inttoptr(address.ir, _POINTER)

    def refuse(self, condition: Value, position: Value) -> None:
        """Refuse a value that was given: the call ends before any state is written.

        ``position`` counts the operand's elements in logical order. Of several refused ones the
        first is kept, whatever the number of threads.
        """
        with self.when(condition):
            one = ir.Constant(_I64, 1)
            self.builder.atomic_rmw("xchg", self._refusal_flag, one, "monotonic")
            self.builder.atomic_rmw("umin", self._refused_position, position.ir, "monotonic")

    def bool(self, value: bool) -> Value:
        return self.constant(value, BOOL)


def _suffix(type_: ir.VectorType) -> str:
    scalar = type_.element
    names = {"half": "f16", "float": "f32", "double": "f64"}
    return f"v{type_.count}{names.get(str(scalar), str(scalar))}"
