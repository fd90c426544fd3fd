"""Well-known data sets by name: fetched once, checked, kept in a cache folder.

The folder is that of the environment variable MINIGRAPH_DATA, else the user's cache. Nothing is
fetched unless `download` is called. A file takes its place only once its checksum is right, and
one that is right is never fetched again.
"""

from __future__ import annotations

import errno
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

CACHE_VARIABLE = "MINIGRAPH_DATA"
UNPACKING = "unpacking-"  # how the names of folders begin that are being unpacked into
ABANDONED = 3600.0  # seconds without a write, after which nobody fetches into a file any more


@dataclass(frozen=True)
class RemoteFile:
    """A file's name, its size in bytes, and its checksum as `algorithm:hexadecimal`."""

    name: str
    size: int
    checksum: str


@dataclass(frozen=True)
class Download:
    """A data set that can be fetched.

    Attributes:
        name: as `open_dataset` takes it, and the folder's name in the cache.
        summary: what it is, in a few words.
        urls: folders that have the files, tried in order; each ends in a slash.
        files: all files.
        unpacked: folder inside of the archive that is the data set; None if the files are it.
    """

    name: str
    summary: str
    urls: tuple[str, ...]
    files: tuple[RemoteFile, ...]
    unpacked: str | None = None

    @property
    def size(self) -> int:
        """Bytes to fetch."""
        return sum(file.size for file in self.files)


# The checksums are those of the original files, whose published MD5 sums were compared.
_FASHION_MNIST = Download(
    "fashion-mnist",
    "70,000 grey images of clothes, 28x28, 10 classes (Xiao, Rasul and Vollgraf 2017; MIT)",
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    (
        RemoteFile("train-images-idx3-ubyte.gz", 26421880, "sha256:"
                   "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        RemoteFile("train-labels-idx1-ubyte.gz", 29515, "sha256:"
                   "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        RemoteFile("t10k-images-idx3-ubyte.gz", 4422102, "sha256:"
                   "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        RemoteFile("t10k-labels-idx1-ubyte.gz", 5148, "sha256:"
                   "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
)  # fmt: skip
_MNIST = Download(
    "mnist",
    "70,000 grey images of digits, 28x28, 10 classes (LeCun, Cortes and Burges)",
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    (
        RemoteFile("train-images-idx3-ubyte.gz", 9912422, "sha256:"
                   "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        RemoteFile("train-labels-idx1-ubyte.gz", 28881, "sha256:"
                   "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        RemoteFile("t10k-images-idx3-ubyte.gz", 1648877, "sha256:"
                   "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        RemoteFile("t10k-labels-idx1-ubyte.gz", 4542, "sha256:"
                   "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
)  # fmt: skip
_VOC2012 = Download(
    "voc2012",
    "Pascal VOC 2012: 2,913 images with masks, 20 things and background",
    ("http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
     "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/"),
    (RemoteFile("VOCtrainval_11-May-2012.tar", 1999639040,
                "md5:6cd6e144f989b92b3379bac3b3de84fd"),),
    unpacked="VOCdevkit/VOC2012",
)  # fmt: skip
DOWNLOADS: Mapping[str, Download] = MappingProxyType(
    {source.name: source for source in (_FASHION_MNIST, _MNIST, _VOC2012)}
)


def cache_folder() -> Path:
    """Where downloaded sets are kept."""
    if folder := os.environ.get(CACHE_VARIABLE):
        return Path(folder).expanduser()
    import pooch

    return Path(pooch.os_cache("minigraph"))


def find_download(name: str) -> Path | None:
    """The folder of a set that was downloaded as a whole; None if it was not."""
    source, folder = DOWNLOADS[name], cache_folder() / name
    if source.unpacked is not None:
        root = folder / source.unpacked
        return root if root.is_dir() else None
    return (
        folder if all(_has_size(folder / file.name, file.size) for file in source.files) else None
    )


def download(source: Download, cache: Path, progress: Any = False) -> Path:
    """Fetch what is missing or damaged of a set, and unpack it; clear what a killed call left.

    Args:
        source: such as ``DOWNLOADS["fashion-mnist"]``.
        cache: folder of all sets, such as ``cache_folder()``; the files go into a folder in it.
        progress: an object as pooch's downloaders take it (``total``, ``update``, ``reset``,
            ``close``); False for none.

    Returns:
        The folder to give to `open_dataset`.

    Raises:
        OSError: no connection, no space, a wrong checksum or a damaged archive; in one line with
            the way out. What was there and right before is there still.
    """
    folder = cache / source.name
    root = folder / (source.unpacked or "")
    way_out = (
        f"Try again, or put {', '.join(file.name for file in source.files)} into {folder} and give "
        f"the same command"
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(folder)
        if source.unpacked is not None and root.is_dir():
            (folder / source.files[0].name).unlink(missing_ok=True)
            return root
        _check_space(source, folder)
        for file in source.files:
            _fetch(source, file, folder, progress)
        if source.unpacked is not None:
            (archive,) = source.files
            _unpack(folder / archive.name, source.unpacked, folder)
    except (OSError, ValueError, tarfile.TarError) as error:
        raise OSError(
            f"Expected to download {source.name}, got {_reason(error)}. {way_out}"
        ) from error
    return root


def _fetch(source: Download, file: RemoteFile, folder: Path, progress: Any) -> None:
    """One file from the first of the servers that gives it, unless it is there already."""
    import pooch
    from requests import RequestException

    failure: Exception | None = None
    for url in source.urls:
        downloader = pooch.HTTPDownloader(progressbar=progress)
        registry = {file.name: file.checksum}
        try:
            pooch.create(folder, url, registry=registry).fetch(file.name, downloader=downloader)
        except (RequestException, ValueError) as error:
            failure = failure or ValueError(f"{_network_reason(error)} from {url}{file.name}")
            continue
        return
    assert failure is not None  # there is a server or two
    raise failure


def _unpack(archive: Path, inner: str, folder: Path) -> None:
    """The part `inner` of an archive, as a whole or not at all; the archive is then deleted."""
    with tempfile.TemporaryDirectory(prefix=UNPACKING, dir=folder) as unpacked:
        with tarfile.open(archive) as tar:
            members = [member for member in tar if member.name.startswith(f"{inner}/")]
            tar.extractall(unpacked, members, filter="data")
        (folder / inner).parent.mkdir(parents=True, exist_ok=True)
        (Path(unpacked) / inner).rename(folder / inner)
    archive.unlink()


def _clear_leftovers(folder: Path) -> None:
    """Delete half-unpacked folders, and the files of pooch that were not fetched to their end."""
    for path in folder.glob(f"{UNPACKING}*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(f"{tempfile.gettempprefix()}*"):
        if path.is_file() and time.time() - path.stat().st_mtime > ABANDONED:
            path.unlink(missing_ok=True)


def _check_space(source: Download, folder: Path) -> None:
    missing = [f.size for f in source.files if not _has_size(folder / f.name, f.size)]
    needed = sum(missing) + (source.size if source.unpacked else 0)
    free = shutil.disk_usage(folder).free
    if needed > free:
        text = f"{needed / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free in {folder}"
        raise OSError(errno.ENOSPC, text)


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _network_reason(error: Exception) -> str:
    """What pooch or requests met, in a few words."""
    if isinstance(error, ValueError) and "hash" in str(error):
        return "a file with another checksum"
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP status {response.status_code}"
    return f"no connection ({type(error).__name__})"


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"a full disk ({error.strerror})"
    return " ".join(str(error).split())
