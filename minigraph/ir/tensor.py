"""Tensor: what model functions handle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from minigraph.ir.errors import BuilderError
from minigraph.ir.graph import Value
from minigraph.ir.spec import DType, TensorSpec

if TYPE_CHECKING:
    from minigraph.ir.builder import Builder


class Tensor:
    """A symbolic value: a handle on one builder's graph. It has a spec and no data."""

    __slots__ = ("builder", "value")
    __array_ufunc__ = None  # np.float32(2) * tensor must come to Tensor.__rmul__

    def __init__(self, builder: Builder, value: Value) -> None:
        self.builder = builder
        self.value = value

    @property
    def name(self) -> str:
        return self.value.name

    @property
    def spec(self) -> TensorSpec:
        return self.value.spec

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.spec.shape

    @property
    def dtype(self) -> DType:
        return self.value.spec.dtype

    @property
    def ndim(self) -> int:
        return len(self.value.spec.shape)

    def __repr__(self) -> str:
        return f"<Tensor {self.name}: {self.spec}>"

    def __bool__(self) -> bool:
        raise BuilderError(
            f"Expected a Python bool, got the symbolic tensor {self!r}: its values are not known "
            "while the graph is built. Use mg.where(condition, a, b) to choose by value."
        )

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError(f"{self!r} is a scalar and has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        raise BuilderError(f"Expected a sequence, got {self!r}: use mg.split to take it apart")

    def __getitem__(self, index: Any) -> Tensor:
        return self._emit("getitem", self, index)

    def __neg__(self) -> Tensor:
        return self._emit("neg", self)

    def __abs__(self) -> Tensor:
        return self._emit("abs", self)

    def __invert__(self) -> Tensor:
        return self._emit("logical_not", self)

    def __add__(self, other: Any) -> Tensor:
        return self._emit("add", self, other)

    def __radd__(self, other: Any) -> Tensor:
        return self._emit("add", other, self)

    def __sub__(self, other: Any) -> Tensor:
        return self._emit("sub", self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return self._emit("sub", other, self)

    def __mul__(self, other: Any) -> Tensor:
        return self._emit("mul", self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return self._emit("mul", other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return self._emit("div", self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return self._emit("div", other, self)

    def __pow__(self, exponent: Any) -> Tensor:
        return self._emit("pow", self, exponent)

    def __rpow__(self, base: Any) -> Tensor:
        return self._emit("pow", base, self)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"a tensor has no {name!r}: operations are functions, such as mg.reduce_sum(x)",
            name=name,
            obj=self,
        )

    def __matmul__(self, other: Any) -> Tensor:
        return self._emit("matmul", self, other)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        raise BuilderError(
            f"Expected mg.equal(a, b) to compare by value, got == with {self!r}, which would "
            "compare the Python objects"
        )

    __hash__ = object.__hash__

    def __lt__(self, other: Any) -> Tensor:
        return self._emit("less", self, other)

    def __le__(self, other: Any) -> Tensor:
        return self._emit("less_equal", self, other)

    def __gt__(self, other: Any) -> Tensor:
        return self._emit("greater", self, other)

    def __ge__(self, other: Any) -> Tensor:
        return self._emit("greater_equal", self, other)

    def __and__(self, other: Any) -> Tensor:
        return self._emit("logical_and", self, other)

    def __or__(self, other: Any) -> Tensor:
        return self._emit("logical_or", self, other)

    def _emit(self, operator: str, *operands: Any) -> Tensor:
        return self.builder.operators[operator](*operands)
