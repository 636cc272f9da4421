"""Ways out of the gateway: where alarms and finished clips are delivered."""
