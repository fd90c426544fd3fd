"""Local response normalisation across channels (Krizhevsky et al. 2012, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

from minigraph.ir.errors import SpecError
from minigraph.ir.footprint import Footprint
from minigraph.ir.op import Cost, Cotangents, Footprints, Op, Tensors, memory_cost
from minigraph.ir.spec import TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.ops.arguments import integer
from minigraph.ops.elementary import power
from minigraph.ops.elementwise import cast


@dataclass(frozen=True)
class ChannelWindowSum(Op):
    """(N,C,...): for each channel c the sum over those from ``c - before`` to ``c + after``."""

    before: int
    after: int

    def __post_init__(self) -> None:
        if self.before < 0 or self.after < 0:
            raise SpecError(
                f"Expected zero or more channels before and after, got {self.before} and "
                f"{self.after}"
            )

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        if x.ndim < 2 or not x.dtype.is_floating:
            raise SpecError(f"Expected a floating tensor (N,C,...), got {x}")
        return (x,)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        # Channel d is in the windows of the channels from d - after to d + before.
        (g,) = grads
        return g.builder.emit(ChannelWindowSum(self.after, self.before), g)

    def footprints(self, axis: int, x: TensorSpec) -> Footprints:
        return (Footprint(1, 1, -self.before, self.after) if axis == 1 else Footprint(axis),)

    def cost(self, x: TensorSpec) -> Cost:
        return memory_cost((self.before + self.after) * x.size, (x,), (x,))


def local_response_norm(
    x: Tensor, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """``x / (k + alpha / size * s) ** beta``, s the sum of squares over ``size`` channels.

    The window of channel c is from ``c - size // 2`` to ``c + (size - 1) // 2``, as in torch; ONNX
    puts the odd one of an even size behind. Beyond the first and the last channel are zeros, which
    count in ``size``. AlexNet has size 5, alpha ``5 * 1e-4`` (its formula does not divide by size),
    beta 0.75 and k 2.
    """
    size = integer(size, "a size")
    if size < 1:
        raise SpecError(f"Expected a window of one channel or more, got {size}")
    wide = cast(x, x.dtype.accumulator)
    window = ChannelWindowSum(size // 2, (size - 1) // 2)
    (total,) = x.builder.emit(window, wide * wide)
    return cast(wide * power(total * (alpha / size) + k, -beta), x.dtype)
