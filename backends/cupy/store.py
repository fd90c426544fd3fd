"""State variables in the device's memory."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

import numpy as np

from minigraph.backend import channels_last
from minigraph.backends.cupy.device import Device, Memory
from minigraph.host_store import SharedLock
from minigraph.interrupts import interrupts_delayed
from minigraph.ir.spec import TensorSpec


class DeviceStore:
    """Named variables that executables update in place. Reads copy; writes bump the version.

    They lie channels last on the device; what is read and written are plain arrays.
    """

    def __init__(self, device: Device, device_lock: threading.Lock) -> None:
        self.version = 0
        self.lock = SharedLock()
        self._device = device
        self._device_lock = device_lock
        self._memory: dict[str, Memory] = {}
        self._specs: dict[str, TensorSpec] = {}

    def create(self, name: str, spec: TensorSpec, start: np.ndarray) -> None:
        """Make a variable, whole or not at all."""
        value = _as_it_lies(start, spec)
        with interrupts_delayed(), self.lock.writing(), self._device_lock:
            memory = self._device.allocate(spec.nbytes)
            self._device.upload(memory.address, value)
            self._device.synchronise()
            self._memory[name], self._specs[name] = memory, spec
            self.version += 1

    def specs(self) -> Mapping[str, TensorSpec]:
        return self._specs

    def read(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        orders = {name: channels_last(self._specs[name]) for name in names}
        lying = {}
        for name, order in orders.items():
            spec = self._specs[name]
            lying[name] = np.empty([spec.shape[axis] for axis in order], spec.dtype.numpy)
        with interrupts_delayed(), self.lock.reading(), self._device_lock:
            for name, array in lying.items():
                self._device.download(array, self.address(name))
            self._device.synchronise()
        return {
            name: np.ascontiguousarray(array.transpose(np.argsort(orders[name])))
            for name, array in lying.items()
        }

    def write(self, arrays: Mapping[str, np.ndarray]) -> None:
        values = {name: _as_it_lies(array, self._specs[name]) for name, array in arrays.items()}
        with interrupts_delayed(), self.lock.writing(), self._device_lock:
            self.version += 1
            for name, value in values.items():
                self._device.upload(self.address(name), value)
            self._device.synchronise()

    def address(self, name: str) -> int:
        """Where the variable lies, for the runners of this backend."""
        return self._memory[name].address


def _as_it_lies(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    value = np.broadcast_to(np.asarray(array, spec.dtype.numpy), spec.shape)
    return np.ascontiguousarray(value.transpose(channels_last(spec)))
