"""How is a program judged that nobody trusts? `sandbox.run(program, tests)` -> Verdict."""

from elastic_lib.sandbox.jail import SandboxUnavailable as SandboxUnavailable
from elastic_lib.sandbox.jail import Verdict as Verdict
from elastic_lib.sandbox.jail import missing as missing
from elastic_lib.sandbox.jail import run as run
from elastic_lib.sandbox.jail import run_many as run_many
