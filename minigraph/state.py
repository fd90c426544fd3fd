"""What a user holds of a model's state: named variables, read by copy and written by item."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from difflib import get_close_matches
from typing import Any

import numpy as np

from minigraph.backend import Backend, Store
from minigraph.display import state_html
from minigraph.initializers import generator_for
from minigraph.inputs import as_array
from minigraph.ir.errors import InputError, StateError
from minigraph.ir.graph import Graph, Role
from minigraph.ir.spec import DType, TensorSpec


class ModelState(MutableMapping[str, np.ndarray]):
    """The state of one model, shared by all its executables.

    ``state[name]`` gives a copy, ``state[name] = array`` writes (cast to the variable's dtype; the
    shape must fit; a tensor of another library will do, as for inputs). Variables come with the
    graphs that use them and cannot be deleted.
    """

    def __init__(self, backend: Backend, seed: int) -> None:
        self.backend = backend
        self.store: Store = backend.new_store()
        self.seed = seed
        self.roles: dict[str, Role] = {}

    def adopt(self, graph: Graph) -> None:
        """Make the variables that the graph needs and the store has not; check the others.

        Raises StateError where a variable exists with another spec; nothing is then made.
        """
        known = self.store.specs()
        for state in graph.state:
            spec = known.get(state.name)
            if spec is not None and spec != state.value.spec:
                raise StateError(
                    f"Expected {state.name!r} to be {spec} as it is in this model's state, got "
                    f"{state.value.spec}: inputs of another shape or dtype must not change it"
                )
        for state in graph.state:
            self.roles[state.name] = state.role
            if state.name in known:
                continue
            initializer = graph.initializers.get(state.name)
            if initializer is None:
                raise StateError(
                    f"Expected a value for the state variable {state.name!r}, got none"
                )
            start = initializer(state.value.spec, generator_for(self.seed, state.name))
            self.store.create(state.name, state.value.spec, start)

    def restore(self, name: str, role: Role | None, array: np.ndarray) -> None:
        """Make a variable of a saved value, whether a graph needs it yet or not."""
        self.store.create(name, TensorSpec(array.shape, DType.of(array.dtype)), array)
        if role is not None:
            self.roles[name] = role

    def spec(self, name: str) -> TensorSpec:
        """Shape and dtype of a variable. Raises StateError."""
        specs = self.store.specs()
        if name not in specs:
            close = get_close_matches(name, specs, n=3, cutoff=0.4)
            hint = f": did you mean {', '.join(close)}?" if close else ""
            raise StateError(f"Expected a state variable, got {name!r}{hint}")
        return specs[name]

    def __getitem__(self, name: str) -> np.ndarray:
        self.spec(name)
        return self.store.read([name])[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def update(self, values: Any = (), /, **more: Any) -> None:
        """Write several variables at one moment, as a dict's ``update``: all or, where one does not
        fit, none."""
        new = dict(values, **more)
        self.store.write({name: self._cast(name, value) for name, value in new.items()})

    def snapshot(self) -> dict[str, np.ndarray]:
        """Copies of all variables at one moment, by name: between two steps."""
        return self.store.read(list(self))

    def _cast(self, name: str, value: Any) -> np.ndarray:
        spec = self.spec(name)
        try:
            array = as_array(name, value)
        except InputError as error:
            raise StateError(str(error)) from None
        if array.shape != spec.shape:
            raise StateError(
                f"Expected shape {list(spec.shape)} for {name!r}, got {list(array.shape)}"
            )
        if not np.can_cast(array.dtype, spec.dtype.numpy, "same_kind"):
            raise StateError(f"Expected {spec} for {name!r}, got {array.dtype}")
        with np.errstate(over="ignore"):
            cast = array.astype(spec.dtype.numpy, copy=False)
        if spec.dtype.is_floating and np.isfinite(array).sum() != np.isfinite(cast).sum():
            raise StateError(f"Expected values that {spec.dtype} can hold for {name!r}, got larger")
        return cast

    def __delitem__(self, name: str) -> None:
        raise StateError(f"State variables cannot be deleted: {name!r}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.store.specs())

    def __len__(self) -> int:
        return len(self.store.specs())

    def __repr__(self) -> str:
        size = sum(spec.nbytes for spec in self.store.specs().values())
        return f"<ModelState: {len(self)} variables, {size:,} bytes>"

    def _repr_html_(self) -> str:
        return state_html(self)

    def parameters(self) -> dict[str, np.ndarray]:
        """Copies of all parameters, trainable and frozen, by name, at one moment."""
        kinds = (Role.PARAMETER, Role.FROZEN)
        return self.store.read([name for name in self if self.roles.get(name) in kinds])
