"""The suite.

`unit` needs Python alone; `integration` needs servers, services and browsers; `soak` needs time.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""
