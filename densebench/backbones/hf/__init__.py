"""Image encoders of Hugging Face transformers, out of a folder or a repository of the hub."""
