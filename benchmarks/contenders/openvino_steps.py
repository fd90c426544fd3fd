"""OpenVINO's CPU plugin on the network that minigraph exports: inference alone, in float32.

Without the precision hint it would take bfloat16 where the processor has it.
"""

from __future__ import annotations

import numpy as np
import openvino

from benchmarks.cases import Case
from benchmarks.contenders.onnx_file import onnx_file
from benchmarks.contenders.steps import Steps


def inference(case: Case, variant: str, threads: int) -> Steps:
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    with onnx_file(case) as (path, parameters):
        model = openvino.Core().compile_model(str(path), "CPU", settings)
    images, _ = case.batch()

    def step() -> np.ndarray:
        return model([images], share_inputs=True, share_outputs=True)[0]

    return Steps(step, parameters)
