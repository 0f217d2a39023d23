"""ONNX files in onnxruntime."""

from collections.abc import Mapping

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from sresnet.errors import UserError
from sresnet.export.about import about_of


class OnnxFile:
    """An exported network, open in onnxruntime.

    Args:
        content: the bytes of the file.
        where: its name, for messages.

    Raises:
        UserError: it is no ONNX file, or none that sresnet exported.
    """

    def __init__(self, content: bytes, where: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # its warnings are of its own making
        try:
            self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of classes that only a compiled module knows
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{where} is no ONNX file that onnxruntime runs ({reason}): export it again") from None
        self.takes = about_of(self.session.get_modelmeta().custom_metadata_map, where).takes

    def scores(self, x: Tensor) -> Tensor:
        """Scores after every step [N, T, classes] of images [N, C, H, W], or of frames [N, T, C, H, W]."""
        if self.takes == "steps":
            return self.streamed(x)
        given = {self.session.get_inputs()[0].name: x.contiguous().cpu().numpy()}
        return torch.from_numpy(self.session.run(["scores"], given)[0])

    def streamed(self, frames: Tensor) -> Tensor:
        """The same of a file of one time step, which is called for each."""
        state = self.start(len(frames))
        scores = []
        for step in range(frames.shape[1]):
            now, state = self.step(frames[:, step].contiguous().cpu().numpy(), step, state)
            scores.append(torch.from_numpy(now))
        return torch.stack(scores, 1)

    def start(self, batch: int) -> dict[str, np.ndarray]:
        """Potentials at the start of a stream, by name."""
        inputs = {each.name: each for each in self.session.get_inputs() if each.name not in ("input", "step")}
        types = {"tensor(float)": np.float32, "tensor(double)": np.float64}
        return {name: np.zeros((batch, *each.shape[1:]), types[each.type]) for name, each in inputs.items()}

    def step(
        self, frame: np.ndarray, step: int, state: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Scores [N, classes] after a time step, and the potentials for the next."""
        names = list(state)
        given = {"input": frame, "step": np.array(step), **state}
        scores, *after = self.session.run(["scores", *(f"{name}.next" for name in names)], given)
        return scores, dict(zip(names, after, strict=True))
