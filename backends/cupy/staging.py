"""The way of inputs to the device, and of outputs back, through pinned memory of the host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from minigraph.backend import Slot, aligned
from minigraph.backends.cupy.device import Device
from minigraph.device_array import DeviceArray
from minigraph.ir.errors import MemoryLimitError

Arrays = Mapping[str, np.ndarray | DeviceArray]


class Staging:
    """Where a program's inputs, or its outputs, lie between the caller and the arena.

    One range of bytes on the device, and one of the same size in pinned memory of the host.
    """

    def __init__(self, device: Device, slots: Mapping[str, Slot]) -> None:
        self._device = device
        offsets, size = {}, 0
        for name, slot in slots.items():
            offsets[name] = size
            size += aligned(slot.spec.nbytes)
        self._memory = device.allocate(size)
        self._host = device.host_array(size)
        self.address = self._memory.address
        self.nbytes = size
        self.addresses = {name: self.address + at for name, at in offsets.items()}
        self._arrays = {
            name: self._host[at : at + slots[name].spec.nbytes]
            .view(slots[name].spec.dtype.numpy)
            .reshape(slots[name].spec.shape)
            for name, at in offsets.items()
        }

    def upload(self, arrays: Arrays) -> None:
        """Queue the copies of the caller's arrays; the host's are read before this returns."""
        if _all_on_host(arrays):
            self._fill(arrays)
            self._device.upload(self.address, self._host)
            return
        for name, staged in self._arrays.items():
            array = arrays[name]
            if isinstance(array, DeviceArray):
                self._wait_for(array)
                self._device.copy(self.addresses[name], array.address, staged.nbytes)
            else:
                np.copyto(staged, array)
                self._device.upload(self.addresses[name], staged)

    def upload_ahead(self, arrays: Arrays) -> None:
        """The same of arrays of the host, beside the stream."""
        self._fill(arrays)
        self._device.upload_ahead(self.address, self._host)

    def _fill(self, arrays: Arrays) -> None:
        for name, staged in self._arrays.items():
            np.copyto(staged, arrays[name])  # type: ignore[arg-type]

    def download(self, arrays: Arrays) -> None:
        """Queue the copies to the host's buffer, for the arrays that are on the host."""
        if _all_on_host(arrays):
            self._device.download(self._host, self.address)
            return
        for name, staged in self._arrays.items():
            if not isinstance(arrays[name], DeviceArray):
                self._device.download(staged, self.addresses[name])

    def give(self, arrays: Arrays) -> None:
        """Copy what has arrived to the caller's arrays."""
        for name, staged in self._arrays.items():
            array = arrays[name]
            if isinstance(array, DeviceArray):
                self._wait_for(array)
                self._device.copy(array.address, self.addresses[name], staged.nbytes)
            else:
                np.copyto(array, staged)
        if not _all_on_host(arrays):
            self._device.synchronise()

    def _wait_for(self, array: DeviceArray) -> None:
        if array.stream is not None:
            self._device.wait_for(array.stream)


def _all_on_host(arrays: Arrays) -> bool:
    return not any(isinstance(array, DeviceArray) for array in arrays.values())


def staged_bytes(slots: Mapping[str, Slot]) -> int:
    """What staging takes on the device."""
    return sum(aligned(slot.spec.nbytes) for slot in slots.values())


@dataclass(frozen=True)
class _Sent:
    """Arrays that were uploaded ahead, and where to."""

    arrays: Arrays
    staging: Staging


class InputStaging:
    """Inputs on the device: those of this call, and those of the next one, on their way.

    What is announced by ``expect`` is sent while the device computes, to one of two further ranges
    in turn; the call that it is for begins with a copy within the device. A range is written again
    two calls later at the earliest, when the copy from it is long done.
    """

    def __init__(self, device: Device, slots: Mapping[str, Slot]) -> None:
        self._device = device
        self._slots = slots
        self._current = Staging(device, slots)
        self.addresses = self._current.addresses  # what kernels read
        self._further: list[Staging] = []  # two, once inputs were announced
        self._expected: Arrays | None = None
        self._sent: _Sent | None = None

    def expect(self, arrays: Arrays) -> None:
        """The next call but one will be on these arrays, which stay as they are until then.

        Where some are on the device already, there is nothing to send; where it has no room for
        them, they travel when it is their turn.
        """
        if not _all_on_host(arrays):
            return
        if not self._further:
            try:
                self._further = [Staging(self._device, self._slots) for _ in range(2)]
            except MemoryLimitError:
                return
        self._expected = arrays

    def forget(self) -> None:
        """Nothing is expected, and what was sent is of no use: the next call waits for it alone, so
        that its range can be written again."""
        if self._sent is not None:
            self._device.wait_for_uploads()
        self._expected = self._sent = None

    def bring(self, arrays: Arrays) -> None:
        """Queue what puts this call's arrays in place."""
        sent, self._sent = self._sent, None
        if sent is not None:
            self._device.wait_for_uploads()
        if sent is not None and _are_same(sent.arrays, arrays):
            self._device.copy(self._current.address, sent.staging.address, self._current.nbytes)
        else:
            self._current.upload(arrays)
        if self._expected is not None and _are_same(self._expected, arrays):
            self._expected = None

    def send_expected(self) -> None:
        """Queue the copy of what was announced, beside what the device is doing."""
        if self._expected is None:
            return
        staging = self._further.pop(0)
        self._further.append(staging)
        staging.upload_ahead(self._expected)
        self._sent, self._expected = _Sent(self._expected, staging), None


def _are_same(some: Arrays, others: Arrays) -> bool:
    """Whether these are the same parts of the host's memory (which both sides keep alive)."""
    pairs = [(array, others[name]) for name, array in some.items()]
    return _all_on_host(others) and all(
        one.__array_interface__ == other.__array_interface__  # type: ignore[union-attr]
        for one, other in pairs
    )
