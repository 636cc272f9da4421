"""The API's routes, by what they are about; `models` has what they answer."""
