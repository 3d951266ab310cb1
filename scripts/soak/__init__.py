"""The driver, the judge and the report of scripts/soak.sh. Python's standard library is enough."""
