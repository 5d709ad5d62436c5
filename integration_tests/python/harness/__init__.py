"""What the acceptance suites share.

workspace  where files go, and the scan for secrets over all of them
program    runs the built program and keeps what it printed
servers    the simulator and fakesnow as processes
market     the simulated market: its configuration and its truth
tables     what `sync` wrote to a warehouse, compared with the truth
warehouse  fakesnow as a sink, read back by Snowflake's connector
airbyte    messages, configured catalogues, strict validation
crash      campaigns of killed runs

A suite imports from here and from the packages of its own environment only:
the environments differ, so nothing here needs more than the standard library,
and what does (`airbyte.Validator`, `warehouse.connect`) imports it when it is used.
"""
