"""The front door: who may come in, what is kept, and when a study is ready."""
