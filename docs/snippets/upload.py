"""Let somebody without AWS credentials drop a clip, and read the answer."""

import json
import time
import urllib.request
from pathlib import Path

import boto3
from botocore.config import Config

stack = boto3.client("cloudformation").describe_stacks(StackName="retake")["Stacks"][0]
names = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
s3 = boto3.client("s3", config=Config(signature_version="s3v4"))


def address(key):
    """Sign an address to which one file can be uploaded within a quarter of an hour."""
    return s3.generate_presigned_url("put_object", Params={"Bucket": names["InputBucketName"], "Key": key}, ExpiresIn=900)


def upload(url, body):
    """What a browser, a phone or a camera does with it."""
    urllib.request.urlopen(urllib.request.Request(url, body, method="PUT")).close()


def answer(key):
    """Read what has become of a clip: one of the two files is there, or none yet."""
    for suffix in (".job.json", ".error.json"):
        try:
            return json.load(s3.get_object(Bucket=names["OutputBucketName"], Key=key + suffix)["Body"])
        except s3.exceptions.NoSuchKey:
            pass
    return {"state": None}


key = "uploads/clip.mp4"
upload(address(key), Path("clip.mp4").read_bytes())
upload(address("uploads/clip.json"), json.dumps({"prompt": "a poster of the seventies"}).encode())
while (told := answer(key))["state"] not in ("DELIVERED", "FAILED", "REFUSED", "LOST"):
    time.sleep(5)
print(told.get("result") or f"{told['message']}; {told['do_now']}")
