"""Liveness probe of a plain tritonserver: its HTTP port answers, and no model's process is gone.

Triton never restarts a model's process. It refuses all requests for that model from then on, but still reports itself
as healthy. Arguments: HTTP port, the server's process id, and a file that keeps the largest number of processes seen so
far; if none was ever seen, only the port counts. Exit 1 if the server should be restarted.
"""

import glob
import pathlib
import sys
import urllib.request

port, server, kept = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/live", timeout=8).close()
count = 0
for stat in glob.glob("/proc/[0-9]*/stat"):
    try:
        name, _, rest = pathlib.Path(stat).read_text().rpartition(")")
    except OSError:  # it has just ended
        continue
    state, parent = rest.split()[:2]
    count += "(triton_python_b" in name and state != "Z" and parent == server
most = int(kept.read_text() or 0) if kept.exists() else 0
if count < most:
    sys.exit(f"{count} of {most} model processes are left")
if count > most:
    kept.write_text(str(count))
