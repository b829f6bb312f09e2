"""The sections of a configuration, one module each; `engine.config.schema` joins them."""
