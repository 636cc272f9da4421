"""The shapes of the API's answers, for its description (OpenAPI) and held to it: see `describe` for their meaning.

What an answer leaves out is left out; nothing is added. A member that is there and may be empty is null.
"""
