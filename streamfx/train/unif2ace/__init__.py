"""Training a UniF2ace: a tokenizer that makes words of faces, and one transformer that reads and draws them."""
