"""mmstream: a plugin-based streaming processor for multimodal records."""
