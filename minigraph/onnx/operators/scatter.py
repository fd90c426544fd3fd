"""Elements put, or added, at computed places.

ONNX leaves the order of equal indices open where elements are put: so they may be added to zeros,
and taken where an index points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from minigraph.ir.errors import LoadError
from minigraph.ir.spec import DType
from minigraph.ir.tensor import Tensor
from minigraph.onnx.node import Converter, Node
from minigraph.ops.broadcast import reshape
from minigraph.ops.elementwise import cast, where
from minigraph.ops.indexing import gather, index_add, scatter_add
from minigraph.ops.pad_modes import pad
from minigraph.ops.shape import full_like, zeros_like

_MAX_SIZE = 2**20

AddAt = Callable[[Tensor, Tensor], Tensor]
"""Adds updates to a tensor at places that are known."""


def _put(node: Node, x: Tensor, updates: Tensor, add_at: AddAt) -> Tensor:
    if node.text("reduction", "none") == "add":
        return add_at(x, updates)
    flags = x.dtype is DType.BOOL  # which cannot be added
    narrow = cast(updates, DType.UINT8) if flags else updates
    counted = cast(zeros_like(x), DType.INT32)
    some = add_at(counted, full_like(cast(updates, DType.INT32), 1)) > 0
    put = add_at(cast(zeros_like(x), narrow.dtype), narrow)
    return where(some, cast(put, x.dtype), x)


def _scatter_elements(node: Node) -> Tensor:
    x, indices, updates = node.tensors()
    axis = node.integer("axis", 0)
    if not -x.ndim <= axis < x.ndim or not x.ndim == indices.ndim == updates.ndim:
        raise LoadError(f"Expected indices and updates of {x.ndim} axes, got {indices.spec}")
    axis %= x.ndim
    # ONNX's indices may be fewer than the tensor's elements along the other axes.
    lacking = [
        0 if place == axis else size - given
        for place, (size, given) in enumerate(zip(x.shape, indices.shape, strict=True))
    ]
    if min(lacking) < 0 or indices.shape != updates.shape:
        raise LoadError(f"Expected indices and updates within {x.spec}, got {indices.spec}")
    if not any(lacking):
        return _put(node, x, updates, lambda x, u: scatter_add(x, indices, u, axis))

    def add_at(x: Tensor, updates: Tensor) -> Tensor:
        part = tuple(
            slice(None) if place == axis else slice(0, size)
            for place, size in enumerate(indices.shape)
        )
        inner = scatter_add(zeros_like(x[part]), indices, updates, axis)
        return x + pad(inner, [(0, amount) for amount in lacking])

    return _put(node, x, updates, add_at)


def _scatter_nd(node: Node) -> Tensor:
    """Tuples of indices into the first axes, as one index into all of them."""
    x, indices, updates = node.tensors()
    depth = indices.shape[-1] if indices.ndim else 0
    lead, rest = x.shape[:depth], x.shape[depth:]
    if not 1 <= depth <= x.ndim or updates.shape != (*indices.shape[:-1], *rest):
        raise LoadError(
            f"Expected indices into {x.spec} and an update for each, got {indices.spec} and "
            f"{updates.spec}"
        )
    if math.prod(lead) > _MAX_SIZE:
        raise LoadError(f"Expected at most {_MAX_SIZE} places, got {math.prod(lead)}")
    flat = _flat_indices(node, indices, lead)

    def add_at(x: Tensor, updates: Tensor) -> Tensor:
        rows = reshape(x, (math.prod(lead), *rest))
        new = reshape(updates, (*flat.shape, *rest))
        return reshape(index_add(rows, flat, new, 0), x.shape)

    return _put(node, x, updates, add_at)


def _flat_indices(node: Node, indices: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Gathered from tables of strides, which refuse an index outside of its own axis."""
    total: Tensor | None = None
    for place, size in enumerate(sizes):
        stride = math.prod(sizes[place + 1 :])
        table = node.variables.tensor(np.arange(size, dtype=np.int64) * stride)
        part = gather(table, reshape(indices[..., place], (-1,)), 0)
        total = part if total is None else total + part
    assert total is not None
    return total


_ATTRIBUTES = {"axis": None, "reduction": ("none", "add")}

SCATTER: Mapping[str, Converter] = {
    "ScatterElements": Converter(_scatter_elements, (3, 3), _ATTRIBUTES),
    "Scatter": Converter(_scatter_elements, (3, 3), {"axis": None}),
    "ScatterND": Converter(_scatter_nd, (3, 3), {"reduction": ("none", "add")}),
}
