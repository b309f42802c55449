"""The program of the same installation."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path


def program() -> str:
    """Return the path of the program `lstmtext`.

    It is the one that was installed with this module, or else the first one in PATH.
    """
    site = Path(__file__).resolve().parent.parent
    schemes = [sysconfig.get_preferred_scheme(kind) for kind in ("prefix", "user")]
    folders = [
        Path(sysconfig.get_path("scripts", scheme))
        for scheme in schemes
        if Path(sysconfig.get_path("platlib", scheme)).resolve() == site
    ]
    # `pip install --target` has no scheme of its own.
    folders += [site / "bin", Path(sys.executable).parent]
    for folder in folders:
        path = folder / "lstmtext"
        if os.access(path, os.X_OK):
            return str(path)
    path = shutil.which("lstmtext")
    if path is None:
        raise FileNotFoundError(
            "the program lstmtext is missing; install the package lstmtext again"
        )
    return path
