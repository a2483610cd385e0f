"""Let somebody without AWS credentials drop a clip, and read its status file."""

import json
import time
import urllib.request
from pathlib import Path

import boto3
from botocore.config import Config

stack = boto3.client("cloudformation").describe_stacks(StackName="retake")["Stacks"][0]
outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
# The URLs name the Region's host: the global one redirects while a bucket is new, and a signature
# is valid for one host only.
regional = {"addressing_style": "virtual", "us_east_1_regional_endpoint": "regional"}
s3 = boto3.client("s3", config=Config(signature_version="s3v4", s3=regional))


def presign(key):
    """Return a URL to which one file can be uploaded for 15 minutes."""
    params = {"Bucket": outputs["InputBucketName"], "Key": key}
    return s3.generate_presigned_url("put_object", Params=params, ExpiresIn=900)


def upload(url, body):
    """Upload a file, as a browser, phone, or camera does."""
    urllib.request.urlopen(urllib.request.Request(url, body, method="PUT")).close()


def read_status(key):
    """Return the content of a clip's status file; it has one of two names, or isn't there yet."""
    for suffix in (".job.json", ".error.json"):
        try:
            found = s3.get_object(Bucket=outputs["OutputBucketName"], Key=key + suffix)
            return json.load(found["Body"])
        except s3.exceptions.NoSuchKey:
            pass
    return {"state": None}


key = "uploads/clip.mp4"
sidecar = json.dumps({"prompt": "a poster from the seventies"}).encode()
upload(presign(key), Path("clip.mp4").read_bytes())
upload(presign("uploads/clip.json"), sidecar)
while (status := read_status(key))["state"] not in ("DELIVERED", "FAILED", "REFUSED", "LOST"):
    time.sleep(5)
print(status.get("result") or f"{status['message']}; {status['do_now']}")
