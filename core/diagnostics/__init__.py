"""What `main.py doctor` finds out about this machine. Qt-free and torch-free; heavy imports run in child processes.

`checks_software` and `checks_machine` hold one small function per check, from plain facts to a verdict;
`probes` gathers the facts; `child` is what runs in the child processes; `runner` puts them together.
"""

from core.diagnostics.model import Check, Status, is_healthy, to_json
from core.diagnostics.runner import run_checks

__all__ = ["Check", "Status", "is_healthy", "run_checks", "to_json"]
