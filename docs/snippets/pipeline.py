"""Drop a folder, stay until everything is back, and hand on what came out."""

import json
import subprocess
import sys

command = ["retake", "drop", "shoot", "--prompt", "a watercolour painting", "--wait", "--out", "retakes", "--json"]
done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
if done.returncode not in (0, 1):  # 2: not understood or found, 130: interrupted; the same command goes on from there
    sys.exit(done.returncode)
told = json.loads(done.stdout)
if "error" in told:
    sys.exit(f"{told['error']}; {told['do_now']}")
for job in told["jobs"]:
    if job["saved"]:
        print(f"{job['saved']} of {job['file']}, {job.get('cost_usd', '?')} USD")
    else:
        print(f"{job['file']} {job['state']}: {job['trouble'] or job.get('message')}; {job.get('do_now')}")
for refused in told["refused"]:  # here already, before anything was uploaded
    print(f"{refused['file']}: {refused['reason']}; {refused['do_now']}")
sys.exit(done.returncode)
