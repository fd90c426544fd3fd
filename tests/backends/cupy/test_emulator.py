"""The emulator itself: threads that wait for each other, 16-bit floats, and what it refuses."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from cupy_cases import needs_compiler
from emulated_compiler import CompileError
from emulated_device import EmulatedDevice

from minigraph.backends.cupy.code import prelude
from minigraph.backends.cupy.device import Launch

pytestmark = needs_compiler


def launch(
    body: str,
    parameters: str,
    arrays: list[np.ndarray],
    block: tuple[int, int, int],
    *,
    backward: bool = False,
    grid: tuple[int, int, int] = (1, 1, 1),
    shared_bytes: int = 0,
) -> list[np.ndarray]:
    """Run ``kernel(parameters, int n)`` on arrays, n being the last one's size; the arrays then."""
    device = EmulatedDevice(backward)
    text = f'extern "C" __global__ void kernel({parameters}, int n)\n{{\n{body}\n}}\n'
    function = device.compile(prelude(), {"kernel": text})["kernel"]
    memory = [device.allocate(array.nbytes) for array in arrays]
    for part, array in zip(memory, arrays, strict=True):
        device.upload(part.address, array)
    pointers = [np.uint64(part.address) for part in memory]
    device.launch(
        Launch(function, grid, block, shared_bytes, (*pointers, np.int32(arrays[-1].size)))
    )
    device.synchronise()
    results = [np.empty_like(array) for array in arrays]
    for part, result in zip(memory, results, strict=True):
        device.download(result, part.address)
    return results


NUMBERS = np.arange(96, dtype=np.float32)


@pytest.mark.parametrize("backward", [False, True])
def test_threads_of_a_block_meet_at_barriers(backward):
    """Each reads what the opposite one wrote, twice."""
    body = """
    __shared__ float held[96];
    const int t = threadIdx.x + blockDim.x * threadIdx.y;
    held[t] = x[t];
    __syncthreads();
    const float opposite = held[n - 1 - t];
    __syncthreads();
    held[t] = opposite;
    __syncthreads();
    y[t] = opposite * 100 + held[n - 1 - t];
    """
    parameters = "const float* x, float* y"
    got = launch(body, parameters, [NUMBERS, NUMBERS * 0], (48, 2, 1), backward=backward)
    np.testing.assert_array_equal(got[1], NUMBERS[::-1] * 100 + NUMBERS)


def test_a_missing_barrier_is_seen_in_one_of_both_orders():
    body = """
    __shared__ float held[96];
    held[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = held[(threadIdx.x + 1) % n];
    """
    given = ("const float* x, float* y", [NUMBERS, NUMBERS * 0], (96, 1, 1))
    wanted = np.roll(NUMBERS, -1)
    found = [launch(body, *given, backward=backward)[1] for backward in (False, True)]
    assert not all(np.array_equal(got, wanted) for got in found)


@pytest.mark.parametrize("backward", [False, True])
def test_shuffles_and_votes_of_a_warp(backward):
    body = """
    const int t = threadIdx.x;
    const unsigned all = 0xffffffffu;
    float sum = x[t];
    for (int bits = 16; bits > 0; bits /= 2) sum += __shfl_xor_sync(all, sum, bits);
    y[t] = sum;
    y[n / 4 + t] = __shfl_down_sync(all, x[t], 3);
    y[n / 2 + t] = __shfl_sync(all, x[t], 5);
    y[3 * n / 4 + t] = __popc(__ballot_sync(all, t % 3 == 0)) + 100 * __any_sync(all, t == 40);
    """
    x, y = np.arange(64, dtype=np.float32), np.zeros(256, np.float32)
    got = launch(body, "const float* x, float* y", [x, y], (64, 1, 1), backward=backward)[1]
    warps = x.reshape(2, 32)
    np.testing.assert_array_equal(got[:64], np.repeat(warps.sum(1), 32))
    down = np.concatenate([warps[:, 3:], warps[:, -3:]], axis=1)
    np.testing.assert_array_equal(got[64:128], down.ravel())
    np.testing.assert_array_equal(got[128:192], np.repeat(warps[:, 5], 32))
    votes = (np.arange(64) % 3 == 0).reshape(2, 32).sum(1)
    np.testing.assert_array_equal(got[192:], np.repeat(votes, 32) + 100 * (np.arange(64) > 31))


def test_lanes_that_do_not_come_are_reported():
    body = "if (threadIdx.x < 7) y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);"
    with pytest.raises(AssertionError, match="wait for lanes"):
        launch(body, "float* y", [NUMBERS], (32, 1, 1))


def test_writes_outside_of_memory_are_reported():
    with pytest.raises(AssertionError, match="outside"):
        launch("y[n] = 1.0f;", "float* y", [NUMBERS], (1, 1, 1))


def test_dynamic_shared_memory_and_grids():
    body = """
    DYNAMIC_SHARED(bytes);
    float* held = reinterpret_cast<float*>(bytes);
    held[threadIdx.x] = blockIdx.x + 10 * blockIdx.y;
    __syncthreads();
    if (threadIdx.x == 0) y[blockIdx.x + gridDim.x * blockIdx.y] = held[blockDim.x - 1];
    """
    y = np.zeros(6, np.float32)
    got = launch(body, "float* y", [y], (32, 1, 1), grid=(3, 2, 1), shared_bytes=128)[0]
    np.testing.assert_array_equal(got, [0, 1, 2, 10, 11, 12])


def test_a_kernel_that_is_wrong_fails_alone():
    device = EmulatedDevice()
    right = device.compile(prelude(), {"right": 'extern "C" __global__ void right() {}'})["right"]
    wrong = device.compile(prelude(), {"wrong": 'extern "C" __global__ void wrong() { ? }'})[
        "wrong"
    ]
    device.launch(Launch(right, (1, 1, 1), (1, 1, 1), 0, ()))
    with pytest.raises(CompileError, match="expected"):
        device.launch(Launch(wrong, (1, 1, 1), (1, 1, 1), 0, ()))


# ---- 16-bit floats against NumPy and ml_dtypes

KINDS = [("half_t", "to_half", np.float16), ("bfloat16_t", "to_bfloat16", ml_dtypes.bfloat16)]


@pytest.mark.parametrize(("name", "convert", "dtype"), KINDS)
def test_every_16_bit_float_becomes_the_float_that_it_is(name, convert, dtype):
    every = np.arange(2**16, dtype=np.uint16).view(dtype)
    body = "for (int i = 0; i < n; ++i) y[i] = to_float(x[i]);"
    parameters = f"const {name}* x, float* y"
    got = launch(body, parameters, [every, np.zeros(2**16, np.float32)], (1, 1, 1))[1]
    np.testing.assert_array_equal(got, every.astype(np.float32))


@pytest.mark.parametrize(("name", "convert", "dtype"), KINDS)
def test_floats_are_rounded_to_the_nearest(name, convert, dtype):
    every = np.arange(2**16, dtype=np.uint16).view(dtype).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        between = (every[:-1] + every[1:]) / 2  # ties
        near = np.concatenate([np.nextafter(between, np.float32(s)) for s in (-np.inf, np.inf)])
        x = np.concatenate([every, between, near, [0.0, -0.0, 1e-30, 70000.0, 3e38]])
        x = x.astype(np.float32)
        wanted = x.astype(dtype)
    body = f"for (int i = 0; i < n; ++i) y[i] = {convert}(x[i]);"
    got = launch(body, f"const float* x, {name}* y", [x, np.zeros(x.shape, dtype)], (1, 1, 1))[1]
    nan = np.isnan(x)
    assert np.isnan(got[nan].astype(np.float32)).all()
    np.testing.assert_array_equal(got[~nan].view(np.uint16), wanted[~nan].view(np.uint16))
