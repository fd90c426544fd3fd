"""What model authors do wrong, and what they are told.

First line: ``Expected ..., got ...`` with the numbers. Then the node or the layer. Then the line of
the model and its callers', and none of minigraph's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import minigraph as mg
from minigraph.models.unet import unet

IMAGE = {"image": "float32[2,3,180,240]"}
PAIR = {"image": "float32[2,3,8,8]", "label": "int32[2,8,8]"}
PACKAGE = str(Path(mg.__file__).resolve().parent)


@dataclass
class Case:
    """A mistake, marked by ``# here`` in the model; the first line; the node's name."""

    model: Callable
    first: str
    node: str | None
    inputs: dict
    options: dict


CASES: list[Case] = []


def mistake(first: str, node: str | None = None, inputs: dict = IMAGE, **options):
    def register(model):
        CASES.append(Case(model, first, node, inputs, options))
        return model

    return register


@mistake(
    "Expected 4 input channels (weight [8, 4, 3, 3], groups 1), got 3",
    "in Conv2d 'first' (stride=(2, 2), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1) "
    "on image: float32[2,3,180,240], w: float32[8,4,3,3]",
)
def wrong_channel_count(image):
    w = mg.parameter(image, "w", (8, 4, 3, 3), mg.initializers.HeNormal())
    return {"y": mg.ops.conv.conv2d(image, w, 2, name="first")}  # here


@mistake(
    "Expected an input of at least 200 (kernel 200, dilation 1), got 180 with padding (0, 0): "
    "pad more, or pool less",
    "in Conv2d 'enc1.conv2d' (",
)
def kernel_larger_than_the_image(image):
    return {"y": mg.conv2d(image, 8, 200, name="enc1")}  # here


@mistake(
    "Expected tensors that agree outside axis 1, got float32[2,3,180,240] and "
    "float32[2,3,90,120] (operand 1)",
    "in Concat 'joined' (axis=1) on image: float32[2,3,180,240], max_pool2d: float32[2,3,90,120]",
)
def concat_of_different_sizes(image):
    small = mg.max_pool2d(image, 2)
    both = [image, small]
    return {"y": mg.concat(both, name="joined")}  # here


@mistake(
    "Expected labels of shape [2, 8, 8] for logits [2, 4, 8, 8] (no class axis), got [2, 4, 8, 8]",
    "in CrossEntropy 'cross_entropy' (void_label=255) on c.add: float32[2,4,8,8], "
    "label: int32[2,4,8,8]",
    {"image": "float32[2,3,8,8]", "label": "int32[2,4,8,8]"},
)
def labels_of_the_wrong_shape(image, label):
    logits = mg.conv2d(image, 4, 1, name="c")
    return {"loss": mg.softmax_cross_entropy(logits, label)}  # here


@mistake(
    "Expected labels of uint8, int32 or int64, got float32",
    "in CrossEntropy 'cross_entropy' (",
    {"image": "float32[2,3,8,8]", "label": "float32[2,8,8]"},
)
def labels_of_floats(image, label):
    logits = mg.conv2d(image, 4, 1, name="c")
    return {"loss": mg.softmax_cross_entropy(logits, label)}  # here


@mistake(
    "Expected features (N,F), got float32[2,3,180,240]: mg.flatten it",
    "in dense 'head' on image: float32[2,3,180,240]",
)
def dense_without_flatten(image):
    return {"y": mg.dense(image, 10, name="head")}  # here


@mistake(
    "Expected a Python bool, got the symbolic tensor <Tensor greater: bool[2,3,180,240]>: its "
    "values are not known while the graph is built. Use mg.where(condition, a, b) to choose by "
    "value.",
)
def branching_on_a_tensor(image):
    if image > 0:  # here
        image = image * 2.0
    return {"y": image}


@mistake(
    "Expected a padding of numbers, 'same' or 'valid', got 'smae'",
    "in conv2d 'enc1' on image: float32[2,3,180,240]",
)
def unknown_padding(image):
    return {"y": mg.conv2d(image, 8, 3, padding="smae", name="enc1")}  # here


@mistake(
    "Expected a height and a width divisible by 16 (depth 4), got 180x240: crop or pad the images",
)
def unet_on_180_rows(image):
    return {"y": unet(image, 2, base=4, depth=4)}  # here


@mistake(
    "Expected groups that divide 3 input and 8 output channels, got 2",
    "in conv2d 'grouped' on image: float32[2,3,180,240]",
)
def wrong_groups(image):
    return {"y": mg.conv2d(image, 8, 3, groups=2, name="grouped")}  # here


@mistake(
    "Expected a new name for a layer, got 'a', which is in use: give it another name=..., or "
    "make a parameter once and pass it to both operations to share it"
)
def duplicate_names(image):
    x = mg.conv2d(image, 3, 3, name="a")
    return {"y": mg.conv2d(x, 3, 3, name="a")}  # here


@mistake(
    "Expected a new name, got 'w', which is in use: give the layer another name=..., or make "
    "the parameter once and pass it to both operations to share it"
)
def duplicate_parameters(image):
    mg.parameter(image, "w", (3,), mg.initializers.Constant(1.0))
    return {"y": mg.parameter(image, "w", (3,), mg.initializers.Constant(2.0))}  # here


KEPT: list[mg.Tensor] = []


@mistake("Expected tensors of one graph, got <Tensor image: float32[2,3,180,240]> of another: a ")
def tensors_of_two_graphs(image):
    if not KEPT:
        KEPT.append(image)
        mg.compile(tensors_of_two_graphs, IMAGE, backend="numpy")
    return {"y": image + KEPT[0]}  # here


@mistake(
    "Expected shapes that broadcast, got [2, 3, 180, 240] and [2, 3, 178, 238] "
    "(axis -2: 180 against 178)",
    "in Add 'add' () on image: float32[2,3,180,240], c.add: float32[2,3,178,238]",
)
def residual_without_padding(image):
    return {"y": image + mg.conv2d(image, 3, 3, name="c")}  # here


@mistake(
    "Expected inner sizes that agree, got 5 of [2, 5] and 2 of [2, 5]",
    "in MatMul 'mat_mul' (",
    {"x": "float32[2,5]"},
)
def matrices_that_do_not_fit(x):
    return {"y": x @ x}  # here


@mistake(
    "Expected an input that the 4x4 window fits, got 2x2 with padding ((0, 0), (0, 0))",
    "in MaxPool2d 'max_pool2d' (",
    {"image": "float32[1,1,2,2]"},
)
def pooled_too_often(image):
    return {"y": mg.max_pool2d(image, 4)}  # here


@mistake(
    "Expected a dropout rate in [0, 1), got 50.0",
    "in dropout 'drop' on image: float32[2,3,180,240]",
)
def dropout_in_percent(image):
    return {"y": mg.dropout(image, 50, name="drop")}  # here


@mistake(
    "Expected images (N,C,H,W), got float32[2,5]", "in conv2d 'c' on x: float32[2,5]",
    {"x": "float32[2,5]"},
)  # fmt: skip
def convolution_of_features(x):
    return {"y": mg.conv2d(x, 3, 3, name="c")}  # here


@mistake(
    "Expected a tensor (N,C,...), got float32[5]", "in batch_norm 'n' on x: float32[5]",
    {"x": "float32[5]"},
)  # fmt: skip
def batch_norm_of_a_vector(x):
    return {"y": mg.batch_norm(x, name="n")}  # here


@mistake(
    "Expected a floating dtype, got int32: use mg.cast first", "in Exp 'exp' () on x: int32[5]",
    {"x": "int32[5]"},
)  # fmt: skip
def function_of_integers(x):
    return {"y": mg.exp(x)}  # here


@mistake("Expected a tensor, a number or an array, got NoneType: None")
def arithmetic_with_nothing(image):
    return {"y": image + None}  # here


@mistake("Expected a name without spaces and any of , : ( ) { } = %, got 'my layer.weight'")
def name_with_a_space(image):
    return {"y": mg.conv2d(image, 3, 3, name="my layer")}  # here


@mistake(
    "Expected the model function to return a dict of named tensors (or one tensor), got NoneType"
)
def returning_nothing(image):  # here
    mg.relu(image)


@mistake(
    "Expected a model function that takes image, label, got label_forgotten(image)", inputs=PAIR
)
def label_forgotten(image):  # here
    return {"y": image}


@mistake("Expected a tensor, got tuple: ")
def returning_tuples(image):
    return {"y": (image, image)}


@mistake(
    "Expected an output called 'loss' to minimise, got logits: return it from the model function, "
    "or name another with loss=...",
    optimizer=mg.SGD(0.1),
)
def optimizer_without_a_loss(image):
    return {"logits": mg.conv2d(image, 3, 3)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.model.__name__)
def test_mistake(case):
    KEPT.clear()
    with pytest.raises(mg.MinigraphError) as caught:
        mg.compile(case.model, case.inputs, backend="numpy", **case.options)
    first, *rest = str(caught.value).splitlines()
    assert first == case.first or (first.startswith(case.first) and case.first.endswith((" ", "a")))
    assert first.startswith("Expected ") and ", got " in first
    if case.node is not None:
        assert rest[0].strip() == case.node or (
            case.node.endswith("(") and rest[0].strip().startswith(case.node)
        )
    places = re.findall(r"^  at (.+):(\d+) in (\S+)$", "\n".join(rest), re.MULTILINE)
    assert not any(file.startswith(PACKAGE + "/") for file, _, _ in places
                   if not file.startswith(PACKAGE + "/models/"))  # fmt: skip
    source, start = Path(__file__).read_text().splitlines(), case.model.__code__.co_firstlineno
    marked = [
        number
        for number, line in enumerate(source[start - 1 : start + 8], start=start)
        if line.endswith("# here")
    ][:1]
    if marked and f"def {case.model.__name__}(" in "".join(source[start - 1 : start + 8]):
        ours = [int(line) for file, line, _ in places if file == __file__]
        wanted = [marked[0]]
        if "def " in source[marked[0] - 1]:
            wanted.append(start)  # of a decorated function Python knows the decorator's line
        assert ours and ours[0] in wanted, f"line {marked[0]} is not shown first:\n{caught.value}"


def test_ten_mistakes_and_more():
    assert len(CASES) >= 20
    assert sum(case.node is not None for case in CASES) >= 10


def test_callers_are_shown_and_our_frames_are_not():
    def block(x):
        return mg.conv2d(x, 3, 9, name="c")

    def model(image):
        return {"y": block(image)}

    with pytest.raises(mg.SpecError) as caught:
        mg.compile(model, {"image": "float32[1,1,4,4]"}, backend="numpy")
    places = re.findall(r"^  at (.+):(\d+) in (\S+)$", str(caught.value), re.MULTILINE)
    assert [name for _, _, name in places] == ["block", "model", caught_name()]
    assert {file for file, _, _ in places} == {__file__}
    assert int(places[0][1]) == block.__code__.co_firstlineno + 1
    assert int(places[1][1]) == model.__code__.co_firstlineno + 1
    assert 'return mg.conv2d(x, 3, 9, name="c")' in str(caught.value)


def caught_name() -> str:
    return "test_callers_are_shown_and_our_frames_are_not"


def test_a_model_of_ours_is_shown_as_a_model():
    """The bundled models are what a reader asks for: their lines are shown."""
    with pytest.raises(mg.SpecError) as caught:
        mg.compile(unet_on_180_rows, IMAGE, backend="numpy")
    places = re.findall(r"^  at (.+):(\d+) in (\S+)$", str(caught.value), re.MULTILINE)
    assert [name for _, _, name in places][-2:] == ["unet", "unet_on_180_rows"]


def test_what_is_no_model():
    with pytest.raises(mg.MinigraphError, match="Expected a model function, got str"):
        mg.compile("model", IMAGE, backend="numpy")
    with pytest.raises(mg.SpecError, match="Expected a spec such as"):
        mg.compile(lambda image: image, {"image": (2, 3)}, backend="numpy")
    with pytest.raises(mg.SpecError, match=r"Expected a dtype of bool, uint8, .*, got float"):
        mg.compile(lambda image: image, {"image": "float[2]"}, backend="numpy")
    with pytest.raises(mg.MinigraphError, match="names of outputs as strings, got 1"):
        mg.compile(lambda image: {1: image}, IMAGE, backend="numpy")
    with pytest.raises(mg.MinigraphError, match="Expected the model function to return a dict"):
        mg.compile(lambda image: {}, IMAGE, backend="numpy")


def test_an_error_of_the_users_own_passes_through():
    def model(image):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        mg.compile(model, IMAGE, backend="numpy")


def test_gradients_errors_have_the_forward_line():
    """A node of the backward pass is located where its forward node was built."""

    def model(image, label):
        x = mg.conv2d(image, 4, 3, padding=1, name="c")
        return {"loss": mg.softmax_cross_entropy(x, label)}

    step = mg.compile(model, PAIR, optimizer=mg.SGD(0.1), backend="numpy")
    line = model.__code__.co_firstlineno + 1
    for current in step.compiled.program.steps:
        if "Conv2dGradWeight" in current.op.name:
            assert current.locations[0].line == line
            assert current.locations[0].file == __file__
            break
    else:
        raise AssertionError("no weight gradient")
