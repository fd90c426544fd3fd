"""onnxruntime's CPU provider on the network that minigraph exports: inference alone."""

from __future__ import annotations

import numpy as np
import onnxruntime

from benchmarks.cases import Case
from benchmarks.contenders.onnx_file import onnx_file
from benchmarks.contenders.steps import Steps


def inference(case: Case, variant: str, threads: int) -> Steps:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    with onnx_file(case) as (path, parameters):
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    images, _ = case.batch()

    def step() -> np.ndarray:
        (logits,) = session.run(["logits"], {"image": images})
        return logits

    return Steps(step, parameters)
