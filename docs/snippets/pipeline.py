"""Drop a folder, wait for all retakes, and process the results."""

import json
import subprocess
import sys

command = ["retake", "drop", "shoot", "--prompt", "a watercolor painting"]
options = ["--wait", "--out", "retakes", "--json"]
done = subprocess.run(command + options, stdout=subprocess.PIPE, text=True)
if done.returncode not in (0, 1):  # 2: invalid or not found; 130: interrupted, run it again
    sys.exit(done.returncode)
report = json.loads(done.stdout)
if "error" in report:
    sys.exit(f"{report['error']}; {report['do_now']}")
for job in report["jobs"]:
    if job["saved"]:
        print(f"{job['saved']} of {job['file']}, {job.get('cost_usd', '?')} USD")
    else:
        reason = job["trouble"] or job.get("message")
        print(f"{job['file']} {job['state']}: {reason}; {job.get('do_now')}")
for refused in report["refused"]:  # by the command, before anything was uploaded
    print(f"{refused['file']}: {refused['reason']}; {refused['do_now']}")
sys.exit(done.returncode)
