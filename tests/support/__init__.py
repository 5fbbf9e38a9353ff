"""What the tests share: private servers, real processes, waiting with a deadline."""
