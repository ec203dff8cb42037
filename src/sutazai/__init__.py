"""SutazAI: a self-hosted AI task-automation server."""
