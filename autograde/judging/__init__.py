"""Hidden tests against a learner's answers: the judge, the proxy that it asks, the verdict."""
