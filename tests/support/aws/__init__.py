"""AWS in memory, with the clients of boto3: for unit tests, and for the simulation."""
