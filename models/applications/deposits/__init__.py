"""Deposits: boto3 (SQS) and requests. Orders come by a queue, what was paid in goes to another."""
