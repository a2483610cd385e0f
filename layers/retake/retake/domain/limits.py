"""The limits of Segmind and of AWS that the pipeline relies on, each in one place."""

DAY_SECONDS = 86400

# Segmind: https://docs.segmind.com; shared facts are in docs/how-it-works.md.
RECORD_LIFETIME_SECONDS = 3600  # how long Segmind keeps a request's record, from the submit on
FILE_LIFETIME_SECONDS = 7 * DAY_SECONDS  # how long Segmind keeps a result file
REPLICA_LAG_SECONDS = 60  # a 404 this soon after the submit can be a replica that lags behind
MAX_CLIP_BYTES = 100_000_000  # Segmind takes "at most 100 MB"; the smaller reading is the safe one
MAX_IMAGE_BYTES = 100_000_000  # of a first frame that is dropped; it is made smaller
MAX_RESULT_BYTES = 2_000_000_000  # larger than any render; bounds a download that never ends

# Our own.
MAX_JSON_BYTES = 64 * 1024  # of a sidecar or a preset
OVERDUE_SECONDS = 900  # a record that nobody has followed up for so long raises an alarm

# AWS.
MAX_KEY_BYTES = 1024  # Amazon S3: the longest object key
SIGNED_URL_SECONDS = 3600  # AWS STS: the longest session of a role that was assumed by another role
