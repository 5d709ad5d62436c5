"""PyAirbyte reads a source into its own DuckDB cache: `pyairbyte_cache.py SOURCE CONFIG STREAM DATABASE`.

SOURCE is the program that it starts, ours. What is measured with it is therefore
what PyAirbyte does with the records, and not another source.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

PROJECT = tempfile.mkdtemp(prefix="pyairbyte-")
os.environ.update(
    AIRBYTE_OFFLINE_MODE="1", DO_NOT_TRACK="1", AIRBYTE_PROJECT_DIR=PROJECT, AIRBYTE_LOGGING_ROOT=PROJECT
)

import airbyte as ab  # noqa: E402  the settings count when it is imported
from airbyte.caches import DuckDBCache  # noqa: E402


def main():
    """Reads everything once."""
    program, config, stream, database = sys.argv[1:]
    source = ab.get_source(
        "source-polygon",
        config=json.loads(Path(config).read_text()),
        local_executable=program,
        install_if_missing=False,
        streams=[stream],
    )
    source.read(cache=DuckDBCache(db_path=database))


if __name__ == "__main__":
    main()
