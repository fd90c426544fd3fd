"""Downloads from a server on this machine: checked, whole or not at all; one line if they fail."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import struct
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from minigraph.data import FASHION_MNIST_CLASSES, VOC_CLASSES, open_dataset
from minigraph.data import download as module
from minigraph.data.download import (
    CACHE_VARIABLE,
    DOWNLOADS,
    Download,
    RemoteFile,
    cache_folder,
    download,
    find_download,
)

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
NOWHERE = "http://127.0.0.1:9/"  # the discard port: nobody listens


@dataclass
class Server:
    """A folder that is served, its address, and what was asked of it."""

    folder: Path
    url: str = ""
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    state = Server(tmp_path / "served")
    state.folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path.strip("/"))
            super().do_GET()

        def log_message(self, *arguments: object) -> None:
            pass

    handler = partial(Handler, directory=str(state.folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        state.url = f"http://127.0.0.1:{httpd.server_port}/"
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield state
        httpd.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def serve(server: Server, name: str, files: dict[str, bytes], unpacked: str | None = None):
    remote = []
    for file_name, content in files.items():
        (server.folder / file_name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        remote.append(RemoteFile(file_name, len(content), f"sha256:{digest}"))
    return Download(name, "for tests", (server.url,), tuple(remote), unpacked)


def idx(array: np.ndarray) -> bytes:
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def mnist_like() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    files = {}
    for prefix, count in (("train", 6), ("t10k", 4)):
        images = rng.integers(0, 256, (count, 5, 5), dtype=np.uint8)
        files[f"{prefix}-images-idx3-ubyte"] = idx(images)
        files[f"{prefix}-labels-idx1-ubyte"] = idx(np.arange(count, dtype=np.uint8))
    return files


def voc_like() -> bytes:
    """An archive of two pictures laid out like VOC 2012, with a file that is not needed."""
    members: dict[str, bytes] = {"VOCdevkit/other.txt": b"not needed"}
    for split, name in (("train", "a"), ("val", "b")):
        members[f"VOCdevkit/VOC2012/ImageSets/Segmentation/{split}.txt"] = name.encode()
        for folder, ending, image in (
            ("JPEGImages", "jpg", Image.new("RGB", (8, 6), "red")),
            ("SegmentationClass", "png", Image.new("L", (8, 6), 15)),
        ):
            file = io.BytesIO()
            image.save(file, "JPEG" if ending == "jpg" else "PNG")
            members[f"VOCdevkit/VOC2012/{folder}/{name}.{ending}"] = file.getvalue()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def test_idx_files_are_fetched_once_and_opened_by_name(server, cache, monkeypatch, tmp_path):
    source = serve(server, "fashion-mnist", mnist_like())
    monkeypatch.setattr(module, "DOWNLOADS", {source.name: source})
    assert find_download(source.name) is None
    folder = download(source, cache)
    assert folder == find_download(source.name) == cache / "fashion-mnist"
    assert sorted(server.asked) == sorted(mnist_like())
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert download(source, cache) == folder
    assert len(server.asked) == 4  # nothing was fetched again
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == times
    monkeypatch.chdir(tmp_path)
    train, held = open_dataset("fashion-mnist")
    assert (len(train), len(held), train.class_names) == (6, 4, FASHION_MNIST_CLASSES)


def test_a_folder_of_that_name_comes_first(cache, monkeypatch, tmp_path):
    work = tmp_path / "work" / "mnist"
    work.mkdir(parents=True)
    for name, content in mnist_like().items():
        (work / name).write_bytes(content)
    monkeypatch.chdir(work.parent)
    assert len(open_dataset("mnist")[0]) == 6


@pytest.mark.parametrize("name", DOWNLOADS)
def test_what_was_not_downloaded_is_not_fetched_in_silence(name, cache, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"minigraph datasets {name} --download"):
        open_dataset(name)


def test_archives_are_unpacked_as_far_as_needed_and_then_deleted(server, cache):
    source = serve(server, "voc", {"voc.tar": voc_like()}, "VOCdevkit/VOC2012")
    root = download(source, cache)
    assert root == cache / "voc" / "VOCdevkit" / "VOC2012"
    assert [path.name for path in (cache / "voc").iterdir()] == ["VOCdevkit"]
    assert [path.name for path in (cache / "voc" / "VOCdevkit").iterdir()] == ["VOC2012"]
    train, held = open_dataset(cache / "voc", size=(6, 8))
    assert (train.class_names, train.name, len(held)) == (VOC_CLASSES, "VOC2012/train", 1)
    assert (train.fetch_labels([0]) == 15).all()
    download(source, cache)
    assert server.asked == ["voc.tar"]


def test_what_a_killed_download_left_is_cleared(server, cache):
    source = serve(server, "voc", {"voc.tar": voc_like()}, "VOCdevkit/VOC2012")
    folder = cache / "voc"

    def kill() -> None:
        (folder / f"{module.UNPACKING}x" / "VOCdevkit").mkdir(parents=True)
        for name, age in (("tmpold", 7200), ("tmpnew", 60)):  # the new one: is being fetched
            (folder / name).write_bytes(b"part")
            os.utime(folder / name, (time.time() - age,) * 2)

    kill()
    download(source, cache)
    assert sorted(path.name for path in folder.iterdir()) == ["VOCdevkit", "tmpnew"]
    kill()
    (folder / "voc.tar").write_bytes(voc_like())  # killed after the unpacked folder was in place
    download(source, cache)
    assert sorted(path.name for path in folder.iterdir()) == ["VOCdevkit", "tmpnew"]
    assert server.asked == ["voc.tar"]


def failure(source: Download, cache: Path) -> str:
    with pytest.raises(OSError) as caught:
        download(source, cache)
    text = str(caught.value)
    assert "\n" not in text and source.name in text
    assert f"put {', '.join(f.name for f in source.files)} into {cache / source.name}" in text
    return text


def test_failures_are_one_line_with_the_way_out_and_leave_good_files(server, cache, monkeypatch):
    files = mnist_like()
    source = serve(server, "digits", files)
    first, second, *_ = files
    (server.folder / second).write_bytes(b"something else")
    assert f"another checksum from {server.url}{second}" in failure(source, cache)
    assert sorted(path.name for path in (cache / "digits").iterdir()) == [first]

    (server.folder / second).unlink()
    assert f"HTTP status 404 from {server.url}{second}" in failure(source, cache)
    assert "no connection (ConnectionError)" in failure(replace(source, urls=(NOWHERE,)), cache)
    nearly_full = SimpleNamespace(free=100)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda folder: nearly_full)
        assert "a full disk (0 MB are needed, 0 MB are free" in failure(source, cache)
    assert (cache / "digits" / first).read_bytes() == files[first]

    (server.folder / second).write_bytes(files[second])
    server.asked.clear()
    download(source, cache)
    assert first not in server.asked and len(server.asked) == 3


def test_damaged_files_are_fetched_again_and_other_servers_are_tried(server, cache):
    files = mnist_like()
    source = replace(serve(server, "digits", files), urls=(NOWHERE, server.url))
    name = next(iter(files))
    (cache / "digits").mkdir(parents=True)
    (cache / "digits" / name).write_bytes(b"\0" * len(files[name]))  # right size, wrong content
    download(source, cache)
    assert (cache / "digits" / name).read_bytes() == files[name]


def test_damaged_archives_leave_nothing_that_looks_whole(server, cache):
    source = serve(server, "voc", {"voc.tar": voc_like()[:2000]}, "VOCdevkit/VOC2012")
    failure(source, cache)
    assert [path.name for path in (cache / "voc").iterdir()] == ["voc.tar"]


def test_archives_cannot_write_elsewhere(server, cache, tmp_path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name in ("set/inside.txt", "set/../../../../escaped.txt"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    source = serve(server, "voc", {"voc.tar": packed.getvalue()}, "set")
    failure(source, cache)
    assert not list(tmp_path.rglob("escaped.txt"))


def test_the_cache_is_the_variables_or_the_users(cache, monkeypatch):
    assert cache_folder() == cache
    monkeypatch.delenv(CACHE_VARIABLE)
    assert "minigraph" in cache_folder().parts


@pytest.mark.parametrize("name", ["fashion-mnist", "mnist"])
def test_the_known_files_are_the_published_ones(name):
    if not (SHARED / name).is_dir():
        pytest.skip(f"no {SHARED / name}")
    for file in DOWNLOADS[name].files:
        content = (SHARED / name / file.name).read_bytes()
        assert file.size == len(content)
        assert file.checksum == f"sha256:{hashlib.sha256(content).hexdigest()}"
