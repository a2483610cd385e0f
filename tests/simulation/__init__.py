"""The whole pipeline in one process, over virtual time: AWS and Segmind as deterministic models."""
