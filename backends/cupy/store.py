"""State variables in the device's memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping

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

    def allocate(self, name: str, spec: TensorSpec) -> None:
        """Make a variable; its content is undefined until it is written."""
        with self._device_lock:
            self._memory[name] = self._device.allocate(spec.nbytes)
        self._specs[name] = spec

    def specs(self) -> Mapping[str, TensorSpec]:
        return self._specs

    def read(self, name: str) -> np.ndarray:
        spec = self._specs[name]
        order = channels_last(spec)
        array = np.empty([spec.shape[axis] for axis in order], spec.dtype.numpy)
        with interrupts_delayed(), self.lock.reading(), self._device_lock:
            self._device.download(array, self.address(name))
            self._device.synchronise()
        return np.ascontiguousarray(array.transpose(np.argsort(order)))

    def write(self, name: str, array: np.ndarray) -> None:
        spec = self._specs[name]
        value = np.broadcast_to(np.asarray(array, spec.dtype.numpy), spec.shape)
        value = np.ascontiguousarray(value.transpose(channels_last(spec)))
        with interrupts_delayed(), self.lock.writing(), self._device_lock:
            self._device.upload(self.address(name), value)
            self._device.synchronise()
            self.version += 1

    def address(self, name: str) -> int:
        """Where the variable lies, for the runners of this backend."""
        return self._memory[name].address
