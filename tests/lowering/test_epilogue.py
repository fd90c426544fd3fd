"""What follows an anchor: which bodies an epilogue can be, and how its operands are numbered."""

from __future__ import annotations

import numpy as np
import pytest

from minigraph.backend import Memory, Refused, Slot
from minigraph.ir.spec import DType, TensorSpec
from minigraph.lowering.call import BoundStep
from minigraph.lowering.elementwise import can_fuse
from minigraph.lowering.epilogue import EpilogueBody, Kind, can_finish, epilogue_places, kind_of
from minigraph.ops.conv import Conv2d
from minigraph.ops.elementwise import Add, Cast, Mul, Relu, Sub
from minigraph.ops.fused import Body, Fused, Instruction
from minigraph.ops.matmul import MatMul

ELEMENTWISE = {Add, Sub, Mul, Relu, Cast}


def spec(*shape: int, dtype: DType = DType.FLOAT32) -> TensorSpec:
    return TensorSpec(shape, dtype)


def body(inputs: int, *instructions: tuple, outputs: tuple[int, ...] = ()) -> Body:
    """Of (op, operands...); the last result is stored where nothing else is said."""
    made = tuple(Instruction(op, tuple(operands)) for op, *operands in instructions)
    return Body(inputs, made, outputs or (inputs + len(made) - 1,))


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((2, 6, 5, 4), Kind.TENSOR),
        ((), Kind.SCALAR),
        ((1, 1), Kind.SCALAR),
        ((6, 1, 1), Kind.CHANNEL),
        ((1, 6, 1, 1), Kind.CHANNEL),
        ((4,), None),  # along the width
        ((2, 1, 1, 1), None),
        ((2, 6, 1, 1), None),  # one a channel of each image
    ],
)
def test_how_an_operand_lies_beside_an_image(shape, kind):
    assert kind_of(spec(*shape), spec(2, 6, 5, 4)) is kind


def test_a_vector_beside_a_matrix_is_one_a_column():
    assert kind_of(spec(6), spec(2, 6)) is Kind.CHANNEL
    assert kind_of(spec(2, 1), spec(2, 6)) is None


PRODUCT, X, W = (MatMul(), 0, 1), spec(3, 4), spec(4, 6)


@pytest.mark.parametrize(
    ("given", "inputs", "reason"),
    [
        (body(3, PRODUCT, (Add(), 3, 2)), [spec(5, 3, 4), W, spec(6)], "in batches"),
        (body(3, PRODUCT, (Add(), 3, 2)), [spec(5, 2, 3, 4), W, spec(6)], "in batches"),
        (body(3, PRODUCT, (Add(), 3, 2)), [X, W, spec(3, 1)], "neither a scalar"),
        (body(3, PRODUCT, (Add(), 3, 2)), [X, W, spec(5, 3, 6)], "shape changes"),
    ],
)
def test_what_no_epilogue_can_be(given, inputs, reason):
    answer = can_finish(given, inputs, ELEMENTWISE)
    assert isinstance(answer, Refused)
    assert reason in answer.reason


@pytest.mark.parametrize(
    "given",
    [
        body(2, PRODUCT, (Relu(), 2), outputs=(2, 3)),
        body(2, PRODUCT, (Relu(), 2), outputs=(2,)),
        body(3, PRODUCT, (Relu(), 2), (Add(), 3, 4)),  # an op beside the anchor
    ],
)
def test_other_results_than_a_chains_last_are_for_anchors_that_store_several(given):
    inputs = [X, W, spec(3, 6)][: given.inputs]
    answer = can_fuse(given, inputs, ELEMENTWISE, {MatMul})
    assert isinstance(answer, Refused)
    assert "the last result of a chain alone" in answer.reason
    assert can_fuse(given, inputs, ELEMENTWISE, {MatMul}, with_several_results={MatMul})


def test_only_ops_that_the_backend_computes():
    given = body(3, PRODUCT, (Add(), 3, 2), (Relu(), 4))
    assert can_finish(given, [X, W, spec(6)], ELEMENTWISE)
    answer = can_finish(given, [X, W, spec(6)], ELEMENTWISE - {Relu})
    assert isinstance(answer, Refused)
    assert "Relu is not elementwise" in answer.reason


def bound(op: object, inputs: list[TensorSpec], output: TensorSpec) -> BoundStep:
    slots = [Slot(Memory.WORK, each, 64 * i) for i, each in enumerate([*inputs, output])]
    return BoundStep(op, "any", tuple(slots[:-1]), (slots[-1],), None)


REFERENCE = {Add: np.add, Sub: np.subtract, Mul: np.multiply, Relu: lambda x: np.maximum(x, 0)}


def computed(instructions: tuple[Instruction, ...], values: list) -> list:
    """The instructions' results behind the operands."""
    for instruction in instructions:
        given = [values[number] for number in instruction.operands]
        values = [*values, REFERENCE[type(instruction.op)](*given)]
    return values


def test_an_epilogue_computes_what_the_body_did():
    """Operands in any order, used twice, one of the anchor's own among them, early results late."""
    given = body(
        5, (MatMul(), 3, 1),
        (Sub(), 2, 5), (Mul(), 6, 0), (Add(), 7, 5), (Relu(), 8), (Sub(), 9, 1), (Mul(), 10, 2),
        (Sub(), 11, 7),
    )  # fmt: skip
    random = np.random.default_rng(0)
    shapes = [(4, 4), (4, 4), (4,), (4, 4), (9, 9)]  # the last is not read
    arrays = [random.standard_normal(shape) for shape in shapes]
    binding = bound(Fused(given), [spec(*shape) for shape in shapes], spec(4, 4))
    epilogue = EpilogueBody.of(binding)
    places = epilogue_places(binding)
    assert [binding.inputs.index(place) for place in places] == [2, 0, 1]
    assert epilogue.kinds == (Kind.CHANNEL, Kind.TENSOR, Kind.TENSOR)
    product = arrays[3] @ arrays[1]
    expected = computed(given.instructions[1:], [*arrays, product])[-1]
    extras = [arrays[binding.inputs.index(place)] for place in places]
    np.testing.assert_array_equal(computed(epilogue.instructions, [product, *extras])[-1], expected)


def test_dtypes_of_result_operands_and_what_is_stored():
    given = body(3, PRODUCT, (Cast(DType.FLOAT16), 3), (Add(), 4, 2))
    half = spec(6, dtype=DType.FLOAT16)
    binding = bound(Fused(given), [X, W, half], spec(3, 6, dtype=DType.FLOAT16))
    assert EpilogueBody.of(binding).dtypes == (DType.FLOAT32, DType.FLOAT16, DType.FLOAT16)


def test_a_plain_node_has_the_empty_epilogue():
    image, weight = spec(2, 3, 5, 5), spec(6, 3, 1, 1)
    binding = bound(Conv2d(), [image, weight], spec(2, 6, 5, 5))
    assert EpilogueBody.of(binding) == EpilogueBody.plain(DType.FLOAT32)
    assert epilogue_places(binding) == []
