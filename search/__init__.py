"""Which trials run, where, how long: ray, optuna, pydantic. Importing it loads none of them."""
