"""Systems on SQS, SNS and Lambda: right ones, and twins with one bug each."""
