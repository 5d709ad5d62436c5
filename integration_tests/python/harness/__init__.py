"""What the acceptance suites share.

workspace  where files go, and the scan for secrets over all of them
program    runs the built program and keeps what it printed
servers    the simulator and fakesnow as processes
market     the simulated market: its configuration and its truth
airbyte    messages, configured catalogues, strict validation

A suite imports from here and from the packages of its own environment only:
the environments differ, so nothing here needs more than the standard library,
and what does (`airbyte.Validator`) imports it when it is used.
"""
