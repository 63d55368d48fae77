"""Start the API process: `python cmd/api/main.py --host 0.0.0.0 --port 8000`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from internal.cli.processes import start

if __name__ == "__main__":
    start()
