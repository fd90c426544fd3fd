"""IDX files: values, and every way in which a file can lie about itself."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from minigraph.data import FASHION_MNIST_CLASSES, load_idx_classification, read_idx

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def idx_bytes(shape: tuple[int, ...], code: int, payload: bytes) -> bytes:
    return bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + payload


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("code", "letter", "dtype"),
    [(8, "B", "u1"), (9, "b", "i1"), (11, "h", "i2"), (12, "i", "i4"), (13, "f", "f4"),
     (14, "d", "f8")],
)  # fmt: skip
def test_reads_every_type_in_native_byte_order(tmp_path, pack, code, letter, dtype):
    numbers = [1, 2, 3, 100, 5, 6]
    content = idx_bytes((2, 3), code, struct.pack(f">6{letter}", *numbers))
    array = read_idx(write(tmp_path / "numbers", pack(content)))
    assert array.dtype == np.dtype(dtype) and array.dtype.isnative
    assert array.tolist() == [[1, 2, 3], [100, 5, 6]]


def test_sizes_of_zero_give_an_empty_array(tmp_path):
    assert read_idx(write(tmp_path / "empty", idx_bytes((0, 28, 28), 8, b""))).shape == (0, 28, 28)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_idx(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "IDX header"),
        (b"\0\0", "IDX header"),
        (b"\x89PNG\r\n\x1a\n", "got '89 50 4e 47'"),
        (b"\0\0\x07\x01\0\0\0\x01\0", "IDX header"),  # no such type
        (b"\0\0\x08\0\0", "IDX header"),  # no dimensions
        (b"\0\0\x08\x03\0\0\0\x01\0\0", "Expected 3 sizes of 4 bytes, got 6"),
        (idx_bytes((2, 3), 8, bytes(5)), r"Expected 18 bytes \(2x3 uint8 .*got 17"),
        (idx_bytes((2, 3), 8, bytes(7)), "Expected 18 bytes .*got 19"),
        (idx_bytes((1,) * 100, 8, bytes(1)), "up to 32 dimensions, got a header of 100"),
        (idx_bytes((0, *(2**32 - 1,) * 3), 8, b""), "at most 2147483648 bytes .*0x4294967295x"),
    ],
)
def test_damaged_plain_files_are_refused_by_name(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(write(tmp_path / "damaged.idx", content))
    assert "damaged.idx" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(idx_bytes((2, 3), 8, bytes(5))), "Expected 18 bytes .*got 17"),
        (gzip.compress(idx_bytes((2, 3), 8, bytes(900))), "Expected 18 bytes .*got more"),
        (gzip.compress(idx_bytes((9, 99), 8, bytes(891)))[:-9], "whole gzip archive"),
        (b"\x1f\x8b" + bytes(40), "whole gzip archive"),
    ],
    ids=["short", "long", "cut", "no-archive"],
)
def test_damaged_archives_are_refused_by_name(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(write(tmp_path / "damaged.gz", content))
    assert "damaged.gz" in str(caught.value)


def test_a_changed_byte_in_an_archive_is_found_by_its_checksum(tmp_path):
    stored = bytearray(gzip.compress(idx_bytes((50,), 8, bytes(range(50))), compresslevel=0))
    stored[40] ^= 1
    with pytest.raises(ValueError, match="whole gzip archive"):
        read_idx(write(tmp_path / "changed.gz", bytes(stored)))


def refuse_memory(*_args: object, **_kwargs: object) -> None:
    raise AssertionError("memory was taken before the header was checked")


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("shape", [(2**32 - 1,) * 3, (2**30,), (1, 2**20)])
def test_headers_that_ask_for_too_much_take_no_memory(tmp_path, monkeypatch, pack, shape):
    monkeypatch.setattr(np, "empty", refuse_memory)
    with pytest.raises(ValueError, match="Expected"):
        read_idx(write(tmp_path / "greedy", pack(idx_bytes(shape, 14, bytes(64)))))


def test_an_archive_is_not_unpacked_past_what_its_header_says(tmp_path):
    bomb = gzip.compress(idx_bytes((4,), 8, bytes(50_000_000)), compresslevel=1)
    with pytest.raises(ValueError, match=r"Expected 12 bytes .*got more"):
        read_idx(write(tmp_path / "bomb.gz", bomb))


def test_max_bytes_bounds_honest_files_too(tmp_path):
    path = write(tmp_path / "big", idx_bytes((1000,), 8, bytes(1000)))
    with pytest.raises(ValueError, match=r"at most 999 bytes.*max_bytes"):
        read_idx(path, max_bytes=999)
    assert read_idx(path, max_bytes=1000).shape == (1000,)


def write_set(folder: Path, images: bytes, labels: bytes) -> Path:
    write(folder / "train-images-idx3-ubyte", images)
    write(folder / "train-labels-idx1-ubyte.gz", gzip.compress(labels))
    return folder


def test_a_set_of_files_becomes_a_data_set(tmp_path):
    write_set(
        tmp_path, idx_bytes((2, 2, 3), 8, bytes(range(12))), idx_bytes((2,), 8, bytes([7, 1]))
    )
    dataset = load_idx_classification(tmp_path, "train")
    assert dataset.images.shape == (2, 1, 2, 3)
    assert dataset.images[1, 0].tolist() == [[6, 7, 8], [9, 10, 11]]
    assert dataset.labels.tolist() == [7, 1]
    assert dataset.class_names[7] == "7"


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (idx_bytes((2, 2, 3), 8, bytes(12)), idx_bytes((3,), 8, bytes(3)), "as many labels"),
        (idx_bytes((12,), 8, bytes(12)), idx_bytes((2,), 8, bytes(2)), "3 dimensions"),
        (idx_bytes((2, 2, 3), 8, bytes(12)), idx_bytes((2,), 12, bytes(8)), "1 dimensions of uint"),
        (idx_bytes((2, 2, 3), 8, bytes(12)), idx_bytes((2,), 8, b"\1\x0a"), r"got 10 at image 1"),
    ],
)
def test_sets_whose_files_do_not_fit_are_refused(tmp_path, images, labels, message):
    with pytest.raises(ValueError, match=message):
        load_idx_classification(write_set(tmp_path, images, labels), "train")


def test_missing_split_files_and_unknown_splits_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="t10k-images-idx3-ubyte"):
        load_idx_classification(tmp_path, "test")
    with pytest.raises(ValueError, match="'train' or 'test', got 'val'"):
        load_idx_classification(tmp_path, "val")


@pytest.mark.parametrize(("name", "mean", "std"), [("fashion-mnist", 0.2868, 0.3524),
                                                  ("mnist", 0.1325, 0.3105)])  # fmt: skip
def test_real_sets_have_their_known_statistics(name, mean, std):
    if not (SHARED / name).is_dir():
        pytest.skip(f"no {SHARED / name}")
    dataset = load_idx_classification(SHARED / name, "test", FASHION_MNIST_CLASSES)
    assert dataset.images.shape == (10000, 1, 28, 28)
    counts = np.bincount(dataset.labels).tolist()
    if name == "mnist":
        assert counts == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    else:
        assert counts == [1000] * 10
    (measured_mean,), (measured_std,) = dataset.channel_statistics()
    assert measured_mean == pytest.approx(mean, abs=1e-4)
    assert measured_std == pytest.approx(std, abs=1e-4)
