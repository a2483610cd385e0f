"""AWS: DynamoDB, S3, SQS, SNS, EventBridge, Step Functions and Secrets Manager; no decisions."""
