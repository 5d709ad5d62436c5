"""dlt's rest_api source into DuckDB: `dlt_rest.py best|default BASE_URL TICKER FROM TO DATABASE`.

Both merge by key into a fresh file, as ours does. `default` leaves every setting
alone. `best` is what made it fastest here: Parquet between its steps (its default
for DuckDB is INSERT statements), large buffers, and files small enough that a
worker a core can normalise them. Prices stay DOUBLE, dlt's choice for numbers
with a fraction: exact decimals would cost it more.
"""

import os
import sys
import tempfile

IS_BEST = sys.argv[1] == "best"
os.environ.update(RUNTIME__DLTHUB_TELEMETRY="false", RUNTIME__LOG_LEVEL="ERROR")
if IS_BEST:
    os.environ.update(
        DATA_WRITER__BUFFER_MAX_ITEMS="50000",
        DATA_WRITER__FILE_MAX_ITEMS="250000",
        NORMALIZE__WORKERS=str(os.cpu_count()),
    )

import dlt  # noqa: E402 - reads the settings when it is imported
from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator  # noqa: E402
from dlt.sources.rest_api import rest_api_source  # noqa: E402


class OnOneHost(JSONLinkPaginator):
    """next_url names the vendor's host; the rows come from base_url."""

    def __init__(self, base_url):
        super().__init__(next_url_path="next_url")
        self.base_url = base_url

    def update_state(self, response, data=None):
        """Sends the next request to base_url."""
        super().update_state(response, data)
        if self._next_reference:
            self._next_reference = self._next_reference.replace("https://api.massive.com", self.base_url)


def main():
    """Runs the pipeline once into a fresh file."""
    _, base_url, ticker, start, end, database = sys.argv[1:]
    source = rest_api_source(
        {
            "client": {
                "base_url": base_url,
                "auth": {"type": "bearer", "token": "benchmark-key-1"},
                "paginator": OnOneHost(base_url),
            },
            "resources": [
                {
                    "name": "bars",
                    "primary_key": ["ticker", "t"],
                    "write_disposition": "merge",
                    "processing_steps": [{"map": lambda row: {**row, "ticker": ticker}}],
                    "endpoint": {
                        "path": f"/v2/aggs/ticker/{ticker}/range/1/minute/{start}/{end}",
                        "params": {"adjusted": "false", "sort": "asc", "limit": 50000},
                        "data_selector": "results",
                    },
                }
            ],
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        pipeline = dlt.pipeline(
            "bench", pipelines_dir=folder, destination=dlt.destinations.duckdb(database), dataset_name="bench"
        )
        pipeline.run(source, loader_file_format="parquet" if IS_BEST else None)


if __name__ == "__main__":
    main()
