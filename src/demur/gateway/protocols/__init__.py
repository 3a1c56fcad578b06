"""The APIs that the gateway serves, one record each: how a request, an answer, a stream and an error of it are read."""
