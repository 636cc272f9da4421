"""The devices beside what they say: which are cut off, who has been handed which, and how their self-tests came out."""
