"""Questions and answers about faces, which train and measure a Face-MLLM: from drawn sets, from labelled sets of others,
and captions by a model that the user names."""
