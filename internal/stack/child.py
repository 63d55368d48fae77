"""Replace this process with a command that dies with its parent.

`python internal/stack/child.py redis-server …`: if the supervisor is killed outright, none of its
servers may live on and hold the data folder.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from worker.process import die_with_parent

if __name__ == "__main__":
    die_with_parent()
    # The supervisor's own argument list.
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 # nosec B606
