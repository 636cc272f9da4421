"""The pages, by who needs them; `frame` has what all share."""
