"""Kernels that are loaded together: each is called by its own address."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from kernel_runner import call

from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import value_type
from minigraph.backends.llvm.library import Library
from minigraph.backends.llvm.object_cache import ObjectCache
from minigraph.backends.llvm.target import host
from minigraph.ir.spec import DType

NAN = float("nan")


@dataclass(frozen=True)
class Number(KernelCode):
    """Writes one number."""

    number: float

    @property
    def pointers(self) -> int:
        return 1

    @property
    def sizes(self) -> int:
        return 0

    def emit(self, k: Kernel) -> None:
        number = k.constant(self.number, value_type(DType.FLOAT64))
        k.view(k.pointers[0], DType.FLOAT64, 1).store(number, 0)


def written(library: Library, code: KernelCode) -> float:
    result = np.zeros(1)
    call(library, code, [result], threads=1)
    return float(result[0])


def test_kernels_of_one_kind_are_told_apart(tmp_path):
    codes = [Number(float(n)) for n in range(20)]
    library = Library(host(), ObjectCache(tmp_path / "cache"))
    library.load(codes[:15])
    library.load(codes[10:])
    assert library.compiled == len(library) == 20
    assert [written(library, code) for code in codes] == list(range(20))
    again = Library(host(), ObjectCache(tmp_path / "cache"))
    again.load(reversed(codes))
    assert again.compiled == 0
    assert [written(again, code) for code in codes] == list(range(20))


def test_codes_that_differ_as_nan_does_from_itself_have_one_name(tmp_path):
    codes = [Number(np.float64(NAN)), Number(np.float64(-NAN)), Number(1.0)]
    assert codes[0] != codes[1] and codes[0].symbol == codes[1].symbol
    library = Library(host(), ObjectCache(tmp_path / "cache"))
    library.load(codes)
    assert np.isnan([written(library, code) for code in codes[:2]]).all()
    assert written(library, codes[2]) == 1.0
