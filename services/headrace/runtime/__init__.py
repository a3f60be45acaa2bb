"""What all services share; knows no service."""
