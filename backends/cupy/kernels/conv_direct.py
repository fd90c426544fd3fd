"""Grouped convolutions with few outputs a group, depthwise ones say: a thread an output.

A product would leave nearly all of its tile empty. Here neighbouring threads have neighbouring
channels of a pixel, so that they read and write side by side; each sums over the taps and the
channels of its group. A transposed convolution gathers: only taps whose place is a multiple of the
stride are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minigraph.backend import Algorithm
from minigraph.backends.cupy.call import (
    AnyCall,
    Binding,
    Call,
    Context,
    blocks_for,
    index_type,
    memory_seconds,
)
from minigraph.backends.cupy.code import COMPUTED, STORED, KernelCode, loaded
from minigraph.backends.cupy.kernels.epilogue import Epilogue
from minigraph.backends.cupy.kernels.method import Method, Problem
from minigraph.ir.spec import DType
from minigraph.lowering.epilogue import anchor_of, anchor_operands, epilogue_places
from minigraph.ops.conv import Conv2dGradWeight, ConvTranspose2d

_MOST_CHANNELS = 4  # of a group's results, for a product's tile to be wasted
_RATE = 3e12  # multiplications a second, each with its own reads


@dataclass(frozen=True)
class DirectConvolution(KernelCode):
    """``y[n, k, i, j] = epilogue(sum of w x)``; sizes are those of what is read and written.

    ``group_inputs`` and ``group_outputs`` are the channels of a group.
    """

    dtype: DType
    transposed: bool
    epilogue: Epilogue
    index: str

    @property
    def comment(self) -> str:
        name = "transposed convolution" if self.transposed else "convolution"
        return f"{name} of {self.dtype}, a thread an output{self.epilogue.comment}"

    @property
    def pointers(self) -> list[str]:
        element, output = STORED[self.dtype], STORED[self.epilogue.dtypes[-1]]
        operands = self.epilogue.pointers
        return [f"const {element}* x", f"const {element}* w", *operands, f"{output}* y"]

    @property
    def sizes(self) -> list[str]:
        return [
            "size", "y_height", "y_width", "y_channels", "x_height", "x_width", "x_channels",
            "group_inputs", "group_outputs", "kernel_h", "kernel_w", "stride_h", "stride_w",
            "padding_h", "padding_w", "dilation_h", "dilation_w",
            "w_output", "w_input", "w_line", "w_pixel",
        ]  # fmt: skip

    def functions(self) -> str:
        return self.epilogue.function(f"{self.symbol}_finish")

    def body(self) -> str:
        index, of = self.index, COMPUTED[self.dtype]
        given = ", ".join(["sum", *self.epilogue.single("at", "channel")])
        product = f"{loaded('pixel[c]', self.dtype)} * {loaded('weight[c * w_input]', self.dtype)}"
        return f"""
            const {index} at = global_thread<{index}>();
            if (at >= size) return;
            const {index} channel = at % y_channels, j = at / y_channels % y_width;
            const {index} i = at / y_channels / y_width % y_height;
            const {index} image = at / y_channels / y_width / y_height;
            const {index} group = channel / group_outputs;
            {of} sum = 0;
            for ({index} r = 0; r < kernel_h; ++r) {{
                {self._position("h", "i", "r")}
                for ({index} s = 0; s < kernel_w; ++s) {{
                    {self._position("w", "j", "s")}
                    const auto* pixel = x + ((image * x_height + h) * x_width + v) * x_channels
                        + group * group_inputs;
                    const auto* weight = w + {self._weight()} + r * w_line + s * w_pixel;
                    for ({index} c = 0; c < group_inputs; ++c) sum += {product};
                }}
            }}
            y[at] = {self.symbol}_finish({given});
        """

    def _position(self, axis: str, output: str, tap: str) -> str:
        """Where a tap reads along one axis; taps that read nothing are left out."""
        name, limit = ("h", "x_height") if axis == "h" else ("v", "x_width")
        if not self.transposed:
            return (
                f"const {self.index} {name} = {output} * stride_{axis} + {tap} * dilation_{axis} "
                f"- padding_{axis};\n"
                f"if ({name} < 0 || {name} >= {limit}) continue;"
            )
        return (
            f"const {self.index} {name}_steps = {output} + padding_{axis} - {tap} * "
            f"dilation_{axis};\n"
            f"const {self.index} {name} = {name}_steps / stride_{axis};\n"
            f"if ({name}_steps < 0 || {name} * stride_{axis} != {name}_steps || {name} >= {limit}) "
            "continue;"
        )

    def _weight(self) -> str:
        """The group's first channel: weights lie by the convolution's outputs and inputs."""
        if self.transposed:
            return "group * group_inputs * w_input + channel % group_outputs * w_output"
        return "channel * w_output"


def _algorithm(problem: Problem, context: Context) -> Algorithm | None:
    if isinstance(problem.op, Conv2dGradWeight):
        return None
    g = problem.geometry
    outputs = g.in_channels if isinstance(problem.op, ConvTranspose2d) else g.out_channels
    if g.groups == 1 or outputs // g.groups > _MOST_CHANNELS:
        return None
    return Algorithm("direct", 0, memory_seconds(problem.node, problem.inputs) + g.flops / _RATE)


def _calls(binding: Binding) -> Sequence[AnyCall]:
    op, (x, w) = anchor_of(binding.op), anchor_operands(binding.op, binding.inputs)
    y, operands = binding.output, epilogue_places(binding)
    if y.spec.size == 0:
        return []
    g, transposed = op.geometry(x.spec, w.spec), isinstance(op, ConvTranspose2d)
    places = (x, w, *operands, y)
    code = DirectConvolution(x.spec.dtype, transposed, Epilogue.of(binding), index_type(*places))
    (_, x_channels, *x_size), (_, y_channels, *y_size) = x.spec.shape, y.spec.shape
    by_output, by_input, line, pixel = w.strides
    if transposed:  # what this op reads are the convolution's outputs
        by_output, by_input = by_input, by_output
    sizes = (
        y.spec.size, *y_size, y_channels, *x_size, x_channels,
        x_channels // g.groups, y_channels // g.groups, *g.kernel, *g.stride,
        g.padding[0][0], g.padding[1][0], *g.dilation, by_output, by_input, line, pixel,
    )  # fmt: skip
    return [Call(code, (x, w, *operands), (y,), sizes, blocks_for(y.spec.size, code.threads))]


DIRECT = Method("direct", _algorithm, _calls)
