"""Where temporary folders are mounted noexec, tests keep theirs in the project's cache.

They put programs of their own there and start them.
"""

import os
import tempfile
from pathlib import Path

if os.statvfs(tempfile.gettempdir()).f_flag & os.ST_NOEXEC:
    folder = Path(__file__).resolve().parents[1] / ".cache/tmp"
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
