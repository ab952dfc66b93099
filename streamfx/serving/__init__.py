"""The model contract, the Triton client and the in-process backend."""
