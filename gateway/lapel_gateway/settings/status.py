"""Plain status topics on an MQTT broker, and Home Assistant's discovery of them."""

from __future__ import annotations

from pydantic import Field, field_validator

from lapel_gateway.settings.section import Name, Section, Text


class StatusSection(Section):
    """Non-personal state as retained MQTT topics, for dashboards: whether an alarm is open, whether the gateway is
    ready, and of each device battery, link, unsent clips and what it does; never who wears it or where it is."""

    enabled: bool = Field(False, description="Whether anything is published.")
    home_assistant: bool = Field(False, description="Also what Home Assistant needs to find it by itself.")
    broker: Name | None = Field(
        None,
        examples=["dashboard"],
        description="Name of the [[mqtt_out]] whose broker and login are used; unset: the gateway's own broker, which "
        "lets the client certificate gateway-dashboard read it.",
    )
    topic: Text = Field("lapel/status", description="What every topic begins with.")
    discovery_prefix: Text = Field("homeassistant", description="What Home Assistant's discovery listens to.")

    @field_validator("topic", "discovery_prefix")
    @classmethod
    def _is_topic(cls, topic: str) -> str:
        bad = set(topic) & set("+# ") or not topic.isprintable() or topic.startswith("$") or "" in topic.split("/")
        if bad or (topic + "/").startswith("lapel/v1/") or topic == "lapel":
            raise ValueError("must be a topic without wildcards and blanks, outside the devices' branch lapel/v1")
        return topic
