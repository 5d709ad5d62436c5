"""What the acceptance suites share.

workspace  where files go, and the scan for secrets over all of them
program    runs the built program and keeps what it printed
servers    the simulator and fakesnow as processes
market     the simulated market: its configuration and its truth
tables     what `sync` wrote to a warehouse, compared with the truth
warehouse  fakesnow as a sink and as a destination, read back by Snowflake's connector
airbyte    messages, configured catalogues, strict validation
destination  the Airbyte destination: messages for it, and what it stored
platform   what Airbyte does between a source and a destination
crash      campaigns of killed runs
neighbours two pipelines over one warehouse
bad        a row of a table of bad input
world      a pipeline and an Airbyte source after a good run, to be broken
sentence   what a clear error is
standard   airbyte-cdk's standard tests over the program
disks      a full disk and a read-only one

A suite imports from here and from the packages of its own environment only:
the environments differ, so nothing here needs more than the standard library,
and what does (`airbyte.Validator`, `warehouse.connect`) imports it when it is used;
`world` is for the environment that has DuckDB's client.
"""
