"""The configuration: what can be set (`schema`) and how it is read and checked (`options`)."""
