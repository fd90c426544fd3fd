"""What the compiler asks the CuPy backend: its kernels by op, its store, its runner."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path

from minigraph.backend import Algorithm, Program, Refused, Supported, channels_last
from minigraph.backends.cupy import cuda_device
from minigraph.backends.cupy.call import Context
from minigraph.backends.cupy.cudnn.plans import open_cudnn
from minigraph.backends.cupy.describe import describe
from minigraph.backends.cupy.device import Device
from minigraph.backends.cupy.kernels.expressions import EXPRESSIONS
from minigraph.backends.cupy.kernels.table import ANCHORS, LOWERINGS
from minigraph.backends.cupy.options import Options
from minigraph.backends.cupy.runner import CupyRunner
from minigraph.backends.cupy.store import DeviceStore
from minigraph.ir.constant import Constant
from minigraph.ir.op import Op
from minigraph.ir.spec import TensorSpec
from minigraph.lowering.elementwise import can_fuse
from minigraph.lowering.sources import hash_of_sources
from minigraph.ops.fused import Body


class CupyBackend:
    """One CUDA graph for a whole call, on one NVIDIA GPU.

    ``device`` is the GPU of this process by default (``CUDA_VISIBLE_DEVICES`` picks it); anything
    with the methods of ``device.Device`` will do. ``threads`` says nothing here: kernels have a
    number of threads that follows from shapes.

    ``float32`` is the precision of convolutions of float32 values in cuDNN: "tf32" (products of
    10 bits of mantissa on tensor cores, sums in float32: torch's and JAX's default) or "strict".
    With ``deterministic`` only plans are taken that give the same bits every time.
    """

    name = "cupy"
    priority = 20
    takes_gaps = False
    takes_device_arrays = True
    lowerings = LOWERINGS

    def __init__(
        self,
        threads: int | None = None,
        device: Device | None = None,
        *,
        float32: str = "tf32",
        deterministic: bool = True,
    ) -> None:
        self.options = Options(float32, deterministic)
        self.threads = 1 if threads is None else threads
        self.device = cuda_device.CudaDevice() if device is None else device
        self.device_lock = threading.Lock()  # the device has one stream, whoever uses it
        self.cudnn = open_cudnn(self.device, self.device_lock, self.options)

    @classmethod
    def available(cls) -> Supported | Refused:
        """Where CuPy can be imported, and finds a GPU whose driver is new enough for it."""
        return cuda_device.available()

    @classmethod
    def describe(cls) -> list[str]:
        """Lines on GPUs and libraries, and on what to install where one is missing."""
        return describe()

    @property
    def fingerprint(self) -> str:
        """This backend's sources, the device, the options, and the libraries."""
        library = self.cudnn.version if self.cudnn else "no cuDNN"
        return f"{version()} {self.device.info} {self.options} {library}"

    def axis_order(self, spec: TensorSpec) -> tuple[int, ...]:
        """Channels innermost for images and for weights; other values row by row."""
        return channels_last(spec)

    def candidates(self, op: Op, inputs: tuple[TensorSpec, ...]) -> tuple[Algorithm, ...] | Refused:
        """The algorithms for an op on inputs of these specs."""
        if isinstance(op, Constant):
            return (Algorithm("constant"),)
        lowering = self.lowerings.get(type(op))
        if lowering is None:
            return Refused(f"no kernel for {op.name}")
        return lowering.candidates(op, inputs, Context(self.device.info, self.cudnn))

    def can_fuse(self, body: Body, inputs: tuple[TensorSpec, ...]) -> Supported | Refused:
        """Elementwise bodies, and anchors with what one kernel can do to their results."""
        return can_fuse(body, inputs, EXPRESSIONS, ANCHORS)

    def new_store(self) -> DeviceStore:
        return DeviceStore(self.device, self.device_lock)

    def build(self, program: Program, store: DeviceStore) -> CupyRunner:
        """Bind a program to an arena of its own and to the store's variables."""
        return CupyRunner(program, store, self.lowerings, self.device, self.device_lock, self.cudnn)


@lru_cache(maxsize=1)
def version() -> str:
    """A hash of this backend's sources."""
    return hash_of_sources(Path(__file__).parent)
