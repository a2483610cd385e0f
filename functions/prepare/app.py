"""`prepare`: looks at a clip once, and makes of it what the model takes."""

import json
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from retake import bootstrap
from retake.observability import logger

application = bootstrap.from_environment()
application.clients.s3.create()
preparer = application.preparer


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Prepare the clip that the one message names; one that fails is delivered again."""
    (record,) = event["Records"]
    key = json.loads(record["body"])["detail"]["object"]["key"]
    logger.append_keys(key=key)
    preparer.prepare(key)
