"""Files of weights that are damaged, hostile or of another kind."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

import minigraph as mg
from minigraph.pretrained import apply_weights
from minigraph.pretrained.files import open_weights


def model(image: mg.Tensor) -> mg.Tensor:
    x = mg.relu(mg.conv2d(image, 4, 3, name="conv1"))
    return mg.dense(mg.flatten(x), 3, name="fc")


@pytest.fixture
def state() -> mg.Executable:
    return mg.compile(model, {"image": "float32[1,1,4,4]"}, backend="numpy", threads=1).state


def member(header: str, body: bytes = b"") -> bytes:
    """An npy file with any header."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)
    return path


def said_of(path: Path, state) -> str:
    """It is refused, and nothing has changed."""
    before = {name: array.tobytes() for name, array in state.items()}
    with pytest.raises(mg.LoadError) as error:
        apply_weights(state, path, "small-classifier")
    assert str(path) in str(error.value)
    assert {name: array.tobytes() for name, array in state.items()} == before
    return str(error.value)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_own_names_load_into_any_network(state, suffix: str, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    arrays = {name: np.asarray(array + 1.0, np.float64) for name, array in state.items()}
    path = tmp_path / f"w{suffix}"
    if suffix == ".npz":
        np.savez_compressed(path, **arrays)
    else:
        save_file(arrays, path)
    report = apply_weights(state, path, "mine")
    assert report.taken == {name: name for name in arrays}
    for name, array in arrays.items():
        np.testing.assert_array_equal(state[name], array.astype(np.float32))


def test_a_pickle_is_refused_with_two_lines_that_convert_it(state, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "was-run",))

    path = tmp_path / "it's.pth"
    path.write_bytes(pickle.dumps(Evil()))
    said = said_of(path, state)
    assert not (tmp_path / "was-run").exists()
    assert "a pickle, which may run code" in said and len(said.splitlines()) == 3


def test_the_two_lines_do_convert_it(state, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "it's.pth"
    torch.save({name: torch.from_numpy(array + 1) for name, array in state.items()}, path)
    program = "\n".join(said_of(path, state).splitlines()[1:])
    exec(program, {})
    assert len(apply_weights(state, path.with_suffix(".safetensors"), "mine").taken) == 4


def test_a_zip_bomb_takes_no_memory(state, tmp_path: Path) -> None:
    """64 MB of zeros in 64 kB: under a shape that fits, and one that tells the truth."""
    size = 2**26
    for name, shape, said in (
        ("lies", (4, 1, 3, 3), "bytes in 'conv1.weight.npy'"),
        ("truth", (size // 4,), "Expected shape [4, 1, 3, 3]"),
    ):
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}"
        path = archive(tmp_path / f"{name}.npz", **{"conv1.weight": member(header, bytes(size))})
        assert path.stat().st_size < size // 500
        tracemalloc.start()
        assert said in said_of(path, state)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 5e6


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("{'descr': '|O', 'fortran_order': False, 'shape': (4, 1, 3, 3)}", "numbers, got object"),
        ("{'descr': '|S999999999', 'fortran_order': False, 'shape': (4, 1, 3, 3)}", "numbers"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (4, 1, 3, 3)}", "bytes"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (-4, -9)}", "bytes"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1e9,)}", "npz"),
        ("__import__('os').abort()", "npz"),
    ],
)
def test_headers_that_lie_are_refused(state, header: str, said: str, tmp_path: Path) -> None:
    path = archive(tmp_path / "w.npz", **{"conv1.weight": member(header, b"\0" * 100)})
    assert said in said_of(path, state)


def test_damaged_npz_files_are_refused(state, tmp_path: Path) -> None:
    good = io.BytesIO()
    np.savez_compressed(good, **dict(state))
    data = good.getvalue()
    path = tmp_path / "w.npz"
    for broken in (b"", b"PK\x03\x04", data[:-30], data[: len(data) // 2]):
        path.write_bytes(broken)
        said_of(path, state)
    for position in range(0, len(data), 29):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :])
        try:
            apply_weights(state, path, "mine")
        except mg.LoadError as error:
            assert str(path) in str(error)
    path.write_bytes(data)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("readme.txt", "hello")
    assert "Expected arrays alone, got 'readme.txt'" in said_of(path, state)


def test_damaged_safetensors_files_are_refused(state, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    entry = {"dtype": "F32", "shape": [4, 1, 3, 3], "data_offsets": [0, 144]}
    for header, body in (
        ({"conv1.weight": {**entry, "shape": [10**12]}}, 144),
        ({"conv1.weight": entry}, 100),
        ({"conv1.weight": {**entry, "data_offsets": [0, 10**15]}}, 144),
    ):
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(body))
        assert "Expected a safetensors file" in said_of(path, state)
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    assert "Expected a safetensors file" in said_of(path, state)


def test_bfloat16_is_read_or_refused_with_the_way_out(state, tmp_path: Path) -> None:
    """Older releases of safetensors cannot give it to NumPy."""
    path = tmp_path / "w.safetensors"
    entry = {"dtype": "BF16", "shape": [4, 1, 3, 3], "data_offsets": [0, 72]}
    text = json.dumps({"conv1.weight": entry}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + struct.pack("<H", 0x3F80) * 36)
    try:
        apply_weights(state, path, "mine")
    except mg.LoadError as error:
        assert "save it as float32" in str(error)
    else:
        assert (state["conv1.weight"] == 1.0).all()


def test_whole_numbers_are_refused(state, tmp_path: Path) -> None:
    """A quantised file, or the bits of another dtype, would load as numbers without meaning."""
    np.savez(tmp_path / "w.npz", **{"fc.bias": np.ones(3, np.uint16)})
    assert "Expected floating numbers in 'fc.bias', got uint16" in said_of(
        tmp_path / "w.npz", state
    )


def test_values_that_float32_cannot_hold_change_nothing(state, tmp_path: Path) -> None:
    arrays = {name: array.astype(np.float64) for name, array in state.items()}
    arrays["fc.bias"][1] = 1e300
    np.savez(tmp_path / "w.npz", **arrays)
    assert "float32 can hold in 'fc.bias'" in said_of(tmp_path / "w.npz", state)


def test_what_is_no_file_of_weights(state, tmp_path: Path) -> None:
    assert "Expected a file, got none" in said_of(tmp_path / "w.npz", state)
    assert "Expected a file, got a folder" in said_of(tmp_path, state)
    (tmp_path / "w.h5").write_bytes(b"x")
    assert "Expected weights as .safetensors or .npz, got '.h5'" in said_of(
        tmp_path / "w.h5", state
    )
    np.savez(tmp_path / "w.npz", other=np.zeros(3))
    said = said_of(tmp_path / "w.npz", state)
    assert "Expected weights of small-classifier, got none: the file has other; the model" in said


def test_shapes_are_known_before_anything_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **{"a.weight": np.zeros((2, 3)), "b": np.float32(1)})
    assert open_weights(tmp_path / "w.npz").shapes == {"a.weight": (2, 3), "b": ()}
