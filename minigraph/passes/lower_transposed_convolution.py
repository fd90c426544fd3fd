"""Transposed convolutions in a form chosen by name: what each is made of can be seen and timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from minigraph.ir.errors import BuilderError
from minigraph.ir.graph import Graph, Node
from minigraph.ir.tensor import Tensor
from minigraph.ops.conv import ConvTranspose2d
from minigraph.ops.transposed import by_sub_pixels, by_zero_insertion
from minigraph.passes.rewrite import Emitter, rewrite

LOWERINGS: dict[str, Callable[[Tensor, Tensor, ConvTranspose2d], Tensor] | None] = {
    "adjoint": None,  # the op itself
    "zero_insertion": by_zero_insertion,
    "sub_pixel": by_sub_pixels,
}


@dataclass(frozen=True)
class LowerTransposedConvolution:
    """Writes every transposed convolution, input gradients too, as ``lowering`` says.

    ``"adjoint"`` leaves the op to the backend's own algorithms; ``"zero_insertion"`` makes it
    a convolution over an input spread with zeros (fractional stride), ``"sub_pixel"`` one
    convolution for each phase of the output and a pixel shuffle. The values are equal but for
    rounding. Put it first: before the pass that fuses convolutions with what follows.
    """

    lowering: str

    def __post_init__(self) -> None:
        if self.lowering not in LOWERINGS:
            raise BuilderError(
                f"Expected a lowering of {', '.join(LOWERINGS)}, got {self.lowering!r}"
            )

    def __call__(self, graph: Graph) -> Graph:
        lower = LOWERINGS[self.lowering]

        def rule(emitter: Emitter, graph: Graph, node: Node) -> tuple[Tensor, ...] | None:
            if lower is None or not isinstance(node.op, ConvTranspose2d):
                return None
            x, w = map(emitter.resolve, node.inputs)
            with x.builder.absolute_scope(node.name):
                return (lower(x, w, node.op),)

        return rewrite(graph, rule)
