"""Plain status topics: what dashboards may see of a gateway, retained, and never anybody's.

Rules that hold here
- Published is what says nothing about a person by itself: that an alarm is open, whether the gateway is ready, and of a
  device its battery, its link, its unsent clips and what it does. Not published: who wears it, where it is, a visit, a
  team, the kind or number of alarms, the name on its case.
- What is published is desired state: it is sent when it changes, and all of it after each connection.
- Nothing is read from the broker: a dashboard changes nothing here.
"""
