"""Tensors of other libraries: taken without a copy, or refused with the way out."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import minigraph as mg
from minigraph.inputs import as_array


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="needs torch")


def double(dtype: str = "float32", shape: str = "2,3") -> mg.Executable:
    return mg.compile(lambda x: {"y": x + x}, {"x": f"{dtype}[{shape}]"}, backend="numpy")


class OnlyDLPack:
    """Has __dlpack__ and no __array__, on a device of one's choice."""

    def __init__(self, array, device=(1, 0)):
        self.array, self.device = array, device

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, **options):
        assert self.device[0] == 1, "a device array must not be read"
        return self.array.__dlpack__(**options)


def test_torch_tensors_give_what_their_values_give(torch):
    x = torch.arange(6.0).reshape(2, 3)
    exe = double()
    for given in (x, x.T.contiguous().T, torch.nn.Parameter(x, requires_grad=False)):
        np.testing.assert_array_equal(exe(x=given)["y"], 2 * x.numpy())
    np.testing.assert_array_equal(exe(x=x.double())["y"], 2 * x.numpy())
    np.testing.assert_array_equal(exe({"x": x.int()})["y"], 2 * x.numpy())
    assert exe(x=torch.ones(5, 3))["y"].shape == (5, 3)


def test_nothing_is_copied(torch):
    x = torch.arange(6.0)
    assert as_array("x", x).ctypes.data == x.data_ptr()
    half = x.bfloat16()
    assert as_array("x", half).ctypes.data == half.data_ptr()
    base = np.arange(6.0)
    assert np.shares_memory(as_array("x", OnlyDLPack(base)), base)
    assert as_array("x", base) is base


def test_outputs_go_to_torch_without_a_copy(torch):
    y = double()(x=np.ones((2, 3), np.float32))["y"]
    shared = torch.from_dlpack(y)
    shared[0, 0] = 7
    assert y[0, 0] == 7


def test_bfloat16_of_torch(torch):
    x = torch.tensor([[1.0, -2.5, 3.0078125], [float("inf"), 0.1, -0.0]]).bfloat16()
    as_float = x.float().numpy()
    got = as_array("x", x)
    assert got.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(got.astype(np.float32), as_float)
    np.testing.assert_array_equal(double()(x=x)["y"], 2 * as_float)
    np.testing.assert_array_equal(as_array("x", x[:, ::2]).astype(np.float32), as_float[:, ::2])


def test_only_dlpack_is_enough():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(double()(x=OnlyDLPack(x))["y"], 2 * x)


@pytest.mark.parametrize(("kind", "device"), [(2, "CUDA"), (10, "ROCm"), (99, "DLPack's type 99")])
def test_another_device_is_refused_in_one_line(kind, device):
    with pytest.raises(mg.InputError) as caught:
        double()(x=OnlyDLPack(np.ones((2, 3)), (kind, 3)))
    assert f"got a OnlyDLPack on device 3 ({device}): copy it first, with x.cpu()" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)


def test_a_tensor_that_requires_a_gradient_is_told_detach(torch):
    x = torch.ones(2, 3, requires_grad=True)
    with pytest.raises(
        mg.InputError, match=r"Parameter|Tensor that requires one: .* x\.detach\(\)"
    ):
        double()(x=x)
    np.testing.assert_array_equal(double()(x=x.detach())["y"], np.full((2, 3), 2))


def test_a_tensor_without_an_array_is_refused(torch):
    for wrong in (torch.ones(2, 3, device="meta"), torch.ones(2, 3).to_sparse()):
        with pytest.raises(mg.InputError, match="Expected an array for 'x', got a Tensor"):
            double()(x=wrong)


def test_state_takes_tensors(torch):
    exe = mg.compile(lambda x: mg.dense(x, 2, name="head"), {"x": "float32[1,3]"}, backend="numpy")
    shape = exe.state["head.weight"].shape
    new = torch.arange(6.0).reshape(shape)
    exe.state["head.weight"] = new
    np.testing.assert_array_equal(exe.state["head.weight"], new.numpy())
    new[0, 0] = 9  # the state has its own memory
    assert exe.state["head.weight"][0, 0] == 0
    exe.state["head.weight"] = new.bfloat16()
    assert exe.state["head.weight"][0, 0] == 9
    with pytest.raises(mg.StateError, match=r"head\.weight\.detach\(\)"):
        exe.state["head.weight"] = torch.nn.Parameter(new)
    with pytest.raises(mg.StateError, match="CUDA"):
        exe.state["head.weight"] = OnlyDLPack(np.zeros(shape), (2, 0))
