import os

import numpy as np
import numpy.typing as npt

class Model:
    labels: list[str]
    columns: list[str]
    multi_label: bool

    def __init__(self, path: str | os.PathLike[str], threads: int | None = None) -> None: ...
    def probabilities(
        self, columns: list[list[str]], batch_size: int
    ) -> tuple[npt.NDArray[np.float64], list[list[int]]]: ...
    def embed(self, columns: list[list[str]], batch_size: int) -> npt.NDArray[np.float32]: ...
    def explain(self, texts: list[str], label: str | None = None, method: str | None = None) -> str: ...
    def tokenize(self, texts: list[str]) -> list[list[str]]: ...
