"""When does a claim hold? Finished runs by setting and seed, what is measured on them, and verdicts."""

from elastic_lib.evidence.evidence import Evidence as Evidence
