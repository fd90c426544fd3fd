"""Optimisers around optimisers: what they see of the gradients, and when and where they act.

They nest, and act from the outside in: ``Accumulate(ClipGlobalNorm(WeightDecay(SGD(0.1), 1e-4),
1.0), 4)`` takes the mean gradient of four calls, clips it, adds the decay, and steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from minigraph.ir.errors import SpecError
from minigraph.ir.spec import DType
from minigraph.ir.tensor import Tensor
from minigraph.ops.arguments import is_integer
from minigraph.ops.elementwise import cast, maximum, minimum, sqrt, where
from minigraph.ops.reduce import reduce_sum
from minigraph.optimizers.base import Memory, Optimizer, Selector, Trained, selects


@dataclass(frozen=True)
class Wrapper(Optimizer):
    """An optimiser around another, whose learning rate it has."""

    optimizer: Optimizer

    def __post_init__(self) -> None:
        if not isinstance(self.optimizer, Optimizer):
            got = type(self.optimizer).__name__
            raise SpecError(f"Expected an optimiser for {type(self).__name__}, got {got}")

    @property
    def learning_rate(self) -> float:  # type: ignore[override]
        return self.optimizer.learning_rate

    def kept(self, trained: Sequence[Trained]) -> Sequence[Trained]:
        return self.optimizer.kept(trained)


@dataclass(frozen=True)
class WeightDecay(Wrapper):
    """``g <- g + decay theta``: the gradient of ``decay / 2 |theta|^2`` (L2), as in torch.

    ``only`` selects the parameters that decay: a pattern of names, or a function of name and spec
    such as ``mg.weights_only``, which leaves out biases and norms. (AdamW's decay is another one.)
    """

    decay: float
    only: Selector = "*"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.decay >= 0:
            raise SpecError(f"Expected a decay of zero or more, got {self.decay}")

    def next_values(self, trained: Sequence[Trained], memory: Memory) -> dict[str, Tensor]:
        decayed = [self._decayed(item, memory) for item in trained]
        return self.optimizer.next_values(decayed, memory)

    def _decayed(self, item: Trained, memory: Memory) -> Trained:
        if not selects(self.only, item.name, item.parameter.spec):
            return item
        with memory.updating(item):
            return item.with_gradient(item.gradient + item.parameter * self.decay)


@dataclass(frozen=True)
class ClipValue(Wrapper):
    """Each element of each gradient brought into [-limit, limit]."""

    limit: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive("limit", self.limit)

    def next_values(self, trained: Sequence[Trained], memory: Memory) -> dict[str, Tensor]:
        clipped = []
        for item in trained:
            with memory.updating(item):
                bounded = minimum(maximum(item.gradient, -self.limit), self.limit)
            clipped.append(item.with_gradient(bounded))
        return self.optimizer.next_values(clipped, memory)


@dataclass(frozen=True)
class ClipGlobalNorm(Wrapper):
    """All gradients scaled by one factor so that their joint norm is at most ``limit``.

    ``g <- min(1, limit / (norm + 1e-6)) g`` with the 2-norm over all elements of all gradients that
    it is given (Pascanu, Mikolov and Bengio 2013), as ``torch.nn.utils.clip_grad_norm_`` does. The
    norm before clipping can be had by ``fetch=["optimizer.gradient_norm"]``.
    """

    limit: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive("limit", self.limit)

    def next_values(self, trained: Sequence[Trained], memory: Memory) -> dict[str, Tensor]:
        squares = []
        for item in trained:
            with memory.updating(item):
                total = reduce_sum(item.gradient * item.gradient)
                squares.append(cast(total, DType.FLOAT64))
        with memory.builder.absolute_scope("update"):
            norm = sqrt(sum(squares[1:], start=squares[0]))
            factor = minimum(self.limit / (norm + 1e-6), 1.0)
        memory.builder.output(f"{memory.scope}.gradient_norm", norm)
        clipped = []
        for item in trained:
            with memory.updating(item):
                scaled = item.gradient * cast(factor, item.gradient.dtype)
            clipped.append(item.with_gradient(scaled))
        return self.optimizer.next_values(clipped, memory)


@dataclass(frozen=True)
class Accumulate(Wrapper):
    """One step of the inner optimiser for every ``steps`` calls, on the mean of their gradients.

    With a mean loss and micro-batches of equal size this is the step of one large batch. In the
    calls between, parameters, slots and the powers of Adam stay as they are; running statistics
    and the random key move in every call.
    """

    steps: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_integer(self.steps) or self.steps < 1:
            raise SpecError(f"Expected one step or more to accumulate, got {self.steps!r}")

    def next_values(self, trained: Sequence[Trained], memory: Memory) -> dict[str, Tensor]:
        calls = memory.scalar("accumulated_calls", 0.0)
        with memory.builder.absolute_scope("update"):
            count = calls + 1.0
            ready = count >= float(self.steps)
            memory.assign(calls, where(ready, 0.0, count))
        means = []
        for item in trained:
            slot = memory.slot("accumulated", item)
            with memory.updating(item):
                total = slot + item.gradient
                memory.assign(slot, where(ready, 0.0, total))
                mean = total / cast(count, total.dtype)
            means.append(item.with_gradient(mean))
        new = self.optimizer.next_values(means, memory.only_if(ready))
        values = {}
        for item in trained:
            with memory.updating(item):
                values[item.name] = where(ready, new[item.name], item.parameter)
        return values


Setting = float | Optimizer | None
"""Of a group: a factor of the rate, an optimiser of its own, or None, which freezes it."""


@dataclass(frozen=True)
class Groups(Wrapper):
    """Other settings for some parameters, by selector; the first that fits counts.

    ``Groups(Momentum(0.1), {"encoder.*": 0.1, "head.*": Adam(1e-3), "stem.*": None})``: a number
    is a factor of the learning rate, an optimiser is used in the default's place, and None freezes
    (no update, no slots; running statistics still move). Rates keep their ratio to the default's,
    so that ``state["optimizer.learning_rate"]`` moves them all.
    """

    groups: Mapping[Selector, Setting]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "groups", dict(self.groups))
        for selector, setting in self.groups.items():
            if setting is None:
                continue
            if isinstance(setting, Optimizer):
                if self.learning_rate == 0:
                    raise SpecError(
                        "Expected a positive learning rate of the default optimiser, to which "
                        f"that of {_shown(selector)} keeps its ratio, got {self.learning_rate}"
                    )
            elif isinstance(setting, bool | str) or not isinstance(setting, int | float):
                raise SpecError(
                    "Expected a factor of the rate, an optimiser or None (frozen) for "
                    f"{_shown(selector)}, got {setting!r}"
                )
            elif not setting >= 0:
                raise SpecError(
                    f"Expected a factor of zero or more for {_shown(selector)}, got {setting}"
                )

    def kept(self, trained: Sequence[Trained]) -> Sequence[Trained]:
        found = {self._group_of(item) for item in trained}
        for number, selector in enumerate(self.groups, start=1):
            if number not in found:
                raise SpecError(
                    f"Expected parameters for the group {_shown(selector)}, got none that an "
                    f"earlier group leaves of {', '.join(item.name for item in trained)}"
                )
        kept: set[str] = set()
        for _, optimizer, items in self._shares(trained):
            kept.update(item.name for item in optimizer.kept(items))
        return [item for item in trained if item.name in kept]

    def next_values(self, trained: Sequence[Trained], memory: Memory) -> dict[str, Tensor]:
        values: dict[str, Tensor] = {}
        for number, optimizer, items in self._shares(trained):
            own = memory.for_group(number) if number else memory
            values |= optimizer.next_values(items, own)
        return values

    def _shares(self, trained: Sequence[Trained]) -> list[tuple[int, Optimizer, list[Trained]]]:
        """What each optimiser has to train: the default (number 0), then those of groups."""
        settings: list[Setting] = [1.0, *self.groups.values()]
        shares: dict[int, list[Trained]] = {}
        for item in trained:
            number = self._group_of(item)
            setting = settings[number]
            if isinstance(setting, Optimizer):
                ratio = setting.learning_rate / self.learning_rate
                shares.setdefault(number, []).append(item.with_rate(ratio))
            elif setting is not None:
                shares.setdefault(0, []).append(item.with_rate(setting))
        optimizers = {n: s for n, s in enumerate(settings) if isinstance(s, Optimizer)}
        optimizers[0] = self.optimizer
        return [(number, optimizers[number], shares[number]) for number in sorted(shares)]

    def _group_of(self, item: Trained) -> int:
        """The number of the first group that selects it, or 0."""
        spec = item.parameter.spec
        for number, selector in enumerate(self.groups, start=1):
            if selects(selector, item.name, spec):
                return number
        return 0


def _shown(selector: Selector) -> str:
    return repr(selector) if isinstance(selector, str) else getattr(selector, "__name__", "?")


def _check_positive(what: str, value: float) -> None:
    if not value > 0:
        raise SpecError(f"Expected a positive {what}, got {value}")
