"""What is kept on disk between runs is of one version of the sources."""

from __future__ import annotations

import pytest

from minigraph.lowering.sources import hash_of_sources


@pytest.mark.parametrize("name", ["kernels/a.py", "b.cuh"])
def test_another_source_is_another_hash(tmp_path, name):
    (tmp_path / "kernels").mkdir()
    before = hash_of_sources(tmp_path)
    (tmp_path / name).write_text("1")
    written = hash_of_sources(tmp_path)
    (tmp_path / name).write_text("2")
    assert len({before, written, hash_of_sources(tmp_path)}) == 3


def test_what_is_no_source_does_not_count(tmp_path):
    before = hash_of_sources(tmp_path)
    (tmp_path / "a.pyc").write_text("1")
    assert hash_of_sources(tmp_path) == before
