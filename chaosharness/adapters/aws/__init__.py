"""AWS as its SDK for Python speaks with it: boto3, botocore; below them the parts of a system."""
