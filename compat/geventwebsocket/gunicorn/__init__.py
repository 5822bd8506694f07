"""The worker for gunicorn."""
