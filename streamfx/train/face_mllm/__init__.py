"""Training a Face-MLLM in three stages on the questions of `train/face_qa`, and measuring what it learned."""
