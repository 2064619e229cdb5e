"""What is told to other programs about calls, as signed webhooks."""
