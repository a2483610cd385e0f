"""Adapters: they speak to S3, DynamoDB, SQS, Step Functions, EventBridge and Segmind, and decide nothing."""
